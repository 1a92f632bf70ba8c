"""Stage `describe_features`: language, concept and span of a checkpoint's SAE features (paper C, secs. 3.2 to 3.4)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from isogloss.bilingual.described import describe_layer, feature_rows, features_schema
from isogloss.bilingual.embeddings import input_embeddings, token_space
from isogloss.bilingual.examples import (
    choose_features,
    context_activations,
    distinct_contexts,
    example_rows,
    sources,
    strongest_contexts,
)
from isogloss.bilingual.patterns import Documents, collect_patterns, read_documents
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.sae.autoencoder import load_encoders


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
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write a row for every feature of `sae`/layer_{l} of `layers`, silent ones too, and examples of each class.

    Counted is a token of the table `evaluation` on which the feature exceeds `pattern_threshold` x its
    maximum there (strictly; BOS left out). `class` is the language whose documents hold more than
    `threshold` of the counted tokens, else "mixed", "silent" without any. Entropies are in nats; tokens
    are clustered by the cosine of their input embeddings in the LM folder `embeddings`.
    `monosemanticity` is `single_token` where the token entropy is 0, the other column 1 - `single_token`.
    `span_length` is in tokens, `maximum` in units of the activation.

    Beside these stand their rivals. `NAME_null` is a concept metric's mean over `permutations` exchanges of the
    embedding's rows (`token_space`), `NAME_excess` what the feature has beyond it, both null for features of one token,
    whose monosemanticity is `single_token` by construction. `..._calibrated` is the same with the similarity above
    which lies 1 - `similarity_quantile` of random pairs of tokens, instead of `similarity`. `n_firings`,
    `p_firings_LANG` and `class_firings` are of all tokens on which the feature is active, however weakly: what an
    injection adds. The metadata name both similarities and the share of random pairs above the paper's.

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
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
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
    seen = np.zeros(vocabulary, dtype=bool)
    schema = features_schema(languages)
    with ExitStack() as stack:
        patterns = collect_patterns(
            model,
            encoders,
            _checked(
                read_documents(evaluation, languages), languages, evaluation, context_length(model), counted, seen
            ),
            languages=len(languages),
            part=settings.pattern_threshold,
            token_budget=compute.token_budget,
            stack=stack,
            folder=Path(features).parent,
        )
        space = token_space(
            embedded,
            seen,
            similarity=settings.similarity,
            quantile=settings.similarity_quantile,
            permutations=settings.permutations,
            seed=seed,
        )
        notes = {**metadata, "evaluated": dict(counted), "similarity": space.notes()}
        chosen: dict[tuple[int, int], dict[str, Any]] = {}
        contexts = []
        with TableWriter(features, schema, notes) as writer:
            for layer in layers:
                described = describe_layer(
                    patterns[layer],
                    languages,
                    space,
                    threshold=settings.threshold,
                    clustering=settings.clustering,
                    single_token=settings.single_token,
                )
                writer.write(feature_rows(described, step, layer, languages).select(schema.names))
                picked = choose_features(
                    described.classes,
                    described.columns["monosemanticity"],
                    described.columns["n_activations"],
                    described.columns["n_tokens_distinct"],
                    settings.examples_per_class,
                )
                contexts += strongest_contexts(patterns[layer], layer, list(picked))
                for feature, selection in picked.items():
                    chosen[layer, feature] = {
                        "step": step,
                        "class": described.classes[feature],
                        "monosemanticity": float(described.columns["monosemanticity"][feature]),
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
    counted: Counter[str],
    seen: Bool[np.ndarray, " vocabulary"],
) -> Iterator[Documents]:
    """`documents` that the model can read; counts documents and tokens by language, marks which tokens are `seen`."""
    for group in documents:
        lengths = np.array([len(ids) for ids in group.ids])
        if lengths.max() > context:
            raise IsoglossError(
                f"{path}: document {group.names[int(lengths.argmax())]} has {lengths.max()} tokens, but the model reads"
                f" {context}; lower bilingual.tokens_per_document"
            )
        highest = [max(ids) for ids in group.ids]
        if max(highest) >= len(seen):
            raise IsoglossError(
                f"{path}: document {group.names[int(np.argmax(highest))]} has token {max(highest)}, but the model knows"
                f" {len(seen)}; make the tokens with this model's tokenizer"
            )
        for number, lang in enumerate(languages):
            here = group.languages == number
            counted[f"documents_{lang}"] += int(here.sum())
            counted[f"tokens_{lang}"] += int((lengths[here] - 1).sum())
        for ids in group.ids:
            seen[ids[1:]] = True
        yield group


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
