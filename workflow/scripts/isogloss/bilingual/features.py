"""Stage `describe_features`: language, concept and span of a checkpoint's SAE features (paper C, secs. 3.2 to 3.4)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isogloss.bilingual.entropy import Clustering, entropies, input_embeddings
from isogloss.bilingual.examples import (
    choose_features,
    context_activations,
    distinct_contexts,
    example_rows,
    sources,
    strongest_contexts,
)
from isogloss.bilingual.patterns import Documents, Patterns, collect_patterns, read_documents, tallies
from isogloss.bilingual.selectivity import classify, language_shares
from isogloss.bilingual.spans import span_length
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.sae.autoencoder import load_encoders


class Described(NamedTuple):
    """The features of one layer; NaN where a feature was never counted."""

    classes: list[str]
    shares: Float[np.ndarray, "features languages"]
    token_entropy: Float[np.ndarray, " features"]
    semantic_entropy: Float[np.ndarray, " features"]
    monosemanticity: Float[np.ndarray, " features"]
    monosemanticity_other_reading: Float[np.ndarray, " features"]
    span_length: Float[np.ndarray, " features"]
    n_activations: Int[np.ndarray, " features"]
    n_tokens_distinct: Int[np.ndarray, " features"]
    maximum: Float[np.ndarray, " features"]


def describe_features(
    *,
    lm: str,
    embeddings: str,
    sae: str,
    evaluation: str,
    features: str,
    examples: str,
    step: int,
    layers: Sequence[int],
    languages: Sequence[str],
    settings: Bilingual,
    compute: Compute,
    seed: int,  # noqa: ARG001  (nothing here is drawn at random)
    metadata: Mapping[str, Any],
) -> None:
    """Write a row for every feature of `sae`/layer_{l} of `layers`, silent ones too, and examples of each class.

    Counted is a token of the table `evaluation` on which the feature exceeds `pattern_threshold` x its
    maximum there (strictly; BOS left out). `class` is the language whose documents hold more than
    `threshold` of the counted tokens, else "mixed", "silent" without any. Entropies are in nats; tokens
    are clustered by the cosine of their input embeddings in the LM folder `embeddings`.
    `monosemanticity` is `single_token` where the token entropy is 0, the other column 1 - `single_token`.
    `span_length` is in tokens, `maximum` in units of the activation.

    An example is a window of up to eight tokens on each side of a peak (`position`, where BOS is 0), with the
    feature's activations from a second forward of those documents; `selection` says whether the feature is
    among its class' most monosemantic or of the median ("top", "median"), `rank` 0 is its strongest context in
    the language. The metadata count the documents and tokens by language.

    The tokens go through the model once for all layers; memory does not grow with them. Raises
    `IsoglossError` for a missing or unfitting SAE, tokens or embeddings of another vocabulary, a
    language without documents, and on an activation that is not finite, naming layer and document.
    """
    import pyarrow as pa

    from isogloss.tables import TableWriter

    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype))
    encoders = load_encoders(
        {layer: Path(sae) / f"layer_{layer}" for layer in layers},
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
    )
    vocabulary = model.config.get_text_config().vocab_size  # type: ignore[union-attr]
    embedded = input_embeddings(embeddings)
    if len(embedded) != vocabulary:
        raise IsoglossError(
            f"{embeddings}: its embedding has {len(embedded)} tokens, but {lm} has {vocabulary}; give a model of the"
            " same tokenizer as bilingual.embeddings"
        )
    counted: Counter[str] = Counter()
    schema = features_schema(languages)
    with ExitStack() as stack:
        patterns = collect_patterns(
            model,
            encoders,
            _checked(
                read_documents(evaluation, languages), languages, evaluation, context_length(model), vocabulary, counted
            ),
            part=settings.pattern_threshold,
            token_budget=compute.token_budget,
            stack=stack,
            folder=Path(features).parent,
        )
        notes = {**metadata, "evaluated": dict(counted)}
        chosen: dict[tuple[int, int], dict[str, Any]] = {}
        contexts = []
        with TableWriter(features, schema, notes) as writer:
            for layer in layers:
                described = describe_layer(
                    patterns[layer],
                    languages,
                    embedded,
                    threshold=settings.threshold,
                    similarity=settings.similarity,
                    clustering=settings.clustering,
                    single_token=settings.single_token,
                )
                writer.write(_table(described, step, layer, languages).select(schema.names))
                picked = choose_features(
                    described.classes,
                    described.monosemanticity,
                    described.n_activations,
                    described.n_tokens_distinct,
                    settings.examples_per_class,
                )
                contexts += strongest_contexts(patterns[layer], layer, list(picked))
                for feature, selection in picked.items():
                    chosen[layer, feature] = {
                        "step": step,
                        "class": described.classes[feature],
                        "monosemanticity": float(described.monosemanticity[feature]),
                        "selection": selection,
                    }
    documents = sources(read_documents(evaluation, languages), {context.document for context in contexts})
    contexts = distinct_contexts(contexts, documents)
    values = context_activations(model, encoders, contexts, documents, token_budget=compute.token_budget)
    rows = [
        {**row, **chosen[row["layer"], row["feature"]]}
        for row in example_rows(contexts, values, documents, load_tokenizer(lm), languages)
    ]
    with TableWriter(examples, examples_schema(), notes) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=examples_schema()))


def _checked(
    documents: Iterator[Documents],
    languages: Sequence[str],
    path: str,
    context: int,
    vocabulary: int,
    counted: Counter[str],
) -> Iterator[Documents]:
    """`documents` that the model can read; counts their documents and tokens by language."""
    for group in documents:
        lengths = np.array([len(ids) for ids in group.ids])
        if lengths.max() > context:
            raise IsoglossError(
                f"{path}: document {group.names[int(lengths.argmax())]} has {lengths.max()} tokens, but the model reads"
                f" {context}; lower bilingual.tokens_per_document"
            )
        highest = [max(ids) for ids in group.ids]
        if max(highest) >= vocabulary:
            raise IsoglossError(
                f"{path}: document {group.names[int(np.argmax(highest))]} has token {max(highest)}, but the model knows"
                f" {vocabulary}; make the tokens with this model's tokenizer"
            )
        for number, lang in enumerate(languages):
            here = group.languages == number
            counted[f"documents_{lang}"] += int(here.sum())
            counted[f"tokens_{lang}"] += int((lengths[here] - 1).sum())
        yield group


def describe_layer(
    patterns: Patterns,
    languages: Sequence[str],
    embeddings: Float[Tensor, "vocabulary d_model"],
    *,
    threshold: float,
    similarity: float,
    clustering: Clustering,
    single_token: float,
) -> Described:
    """What the counted entries of a layer say of each of its features."""
    parts: list[tuple[np.ndarray, ...]] = []
    for tally in tallies(patterns, languages=len(languages), vocabulary=len(embeddings)):
        n = tally.by_language.sum(axis=1)
        entropy = entropies(
            tally.feature,
            tally.token,
            tally.count,
            features=len(n),
            embeddings=embeddings,
            similarity=similarity,
            clustering=clustering,
        )
        parts.append(
            (
                language_shares(tally.by_language),
                *entropy,
                entropy.monosemanticity(single_token),
                entropy.monosemanticity(1 - single_token),
                span_length(n, tally.runs),
                n,
                np.bincount(tally.feature, minlength=len(n)),
            )
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    classes = classify(columns[0], languages, threshold)
    return Described._make([classes, *columns, patterns.maximum.astype(np.float64)])


def features_schema(languages: Sequence[str]) -> Any:
    """Columns of the table of features; shares, entropies and spans are null for silent ones."""
    import pyarrow as pa

    return pa.schema(
        {
            "step": pa.int64(),
            "layer": pa.int32(),
            "feature": pa.int32(),
            "class": pa.string(),
            **{f"p_{lang}": pa.float64() for lang in languages},
            "token_entropy": pa.float64(),
            "semantic_entropy": pa.float64(),
            "monosemanticity": pa.float64(),
            "monosemanticity_other_reading": pa.float64(),
            "span_length": pa.float64(),
            "n_activations": pa.int64(),
            "n_tokens_distinct": pa.int64(),
            "maximum": pa.float64(),
        }
    )


def examples_schema() -> Any:
    """Columns of the table of examples: a context a row."""
    import pyarrow as pa

    return pa.schema(
        {
            "step": pa.int64(),
            "layer": pa.int32(),
            "feature": pa.int32(),
            "class": pa.string(),
            "monosemanticity": pa.float64(),
            "rank": pa.int32(),
            "lang": pa.string(),
            "document": pa.string(),
            "position": pa.int32(),
            "tokens": pa.list_(pa.string()),
            "activations": pa.list_(pa.float32()),
            "selection": pa.string(),
        }
    )


def _table(described: Described, step: int, layer: int, languages: Sequence[str]) -> Any:
    """A layer's rows of the table of features."""
    import polars as pl

    columns = described._asdict()
    shares, classes = columns.pop("shares"), columns.pop("classes")
    frame = pl.DataFrame(
        {
            "feature": np.arange(len(classes)),
            "class": classes,
            **{f"p_{lang}": shares[:, number] for number, lang in enumerate(languages)},
            **columns,
        }
    )
    return frame.with_columns(pl.lit(step).alias("step"), pl.lit(layer).alias("layer")).fill_nan(None)
