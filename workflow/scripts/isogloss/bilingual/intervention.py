"""Stage `intervene`: features of the fully trained model injected into an unfinished one (paper C, sec. 5)."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from isogloss.bilingual.dose import injected_norms, match_draws, scales_to
from isogloss.bilingual.draws import MATCHED, MIXED, classes_to_inject, distinct_masks, draw_features, read_layer
from isogloss.bilingual.generation import Injection, continue_greedily
from isogloss.bilingual.injection import Decoding, Models, load_dictionary
from isogloss.bilingual.intervention_tables import (
    NONE,
    Documents,
    Translated,
    Variant,
    variant_of,
    write_hypotheses,
    write_results,
)
from isogloss.bilingual.perplexity import document_losses
from isogloss.bilingual.translation_tasks import Task, translation_tasks
from isogloss.config.bilingual import Intervention
from isogloss.config.measures import Compute, Statistics
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import encode_texts
from isogloss.models.decoding import stopping_tokens
from isogloss.models.finite import remedy
from isogloss.models.loading import context_length, load_base_model, load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.text.tokens import check_documents
from isogloss.text.translation_score import score_translations

logger = logging.getLogger(__name__)


def intervene(
    *,
    lm: str,
    full: str,
    sae: str,
    features: Sequence[str],
    evaluation: str,
    output: str,
    summary: str,
    step: int,
    layer: int,
    languages: Sequence[str],
    settings: Intervention,
    segments: Mapping[str, str],
    names: Mapping[str, str],
    statistics: Statistics,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
    hypotheses: str | None = None,
) -> None:
    """Write `intervention`, a row for each injection and language, and its `summary` over repeats (Tables 1 and 4).

    H~_mid = H_mid + α D(m ⊙ E(H_full)) (eq. 7) at the output of `layer` of the model `lm`, at every position
    but BOS, which the SAE never saw. E and D are those of `sae`/layer_{l}, trained on `full`; m has ones at
    N features of a class, drawn by seed and repeat (`n_used` is N, or the class where that is smaller). Classes
    are those of the tables `features`: a language, `mixed`, and the control `random`, drawn from all
    features that are not silent; `none` is the unfinished model as it is. If `classes` is None, those without
    features are left out, logged, and named in the metadata (`classes_left_out`). Equal draws run once.

    The control `matched` has the dose of `mixed`: for each of its draws as many features that are not mixed and fire as
    often (`match_draws`), times what makes the mean norm of the vectors added that of the draw's. `injected_norm` is
    that mean over all tokens read, α included; `mean_firings` that of the evaluation tokens on which a drawn feature is
    active; `selective_share` the part of the drawn features that are of their class by all firings, too.

    `perplexity` is the mean over the first `documents` documents of a language in `evaluation` of exp(mean
    negative log-likelihood of a document's tokens, BOS apart); lang `all` is the mean over all documents
    (resources/papers.md, paper C, sec. 5.2), and `n` counts documents. With `translations`, `chrf` and `bleu`
    are those of greedy few-shot translation of the tables `segments`, by language, whose `names` stand in the
    prompts: into each other language from the first of `languages`, and into the first the mean over the others.
    Then a table of every translation, which COMET reads, is written to the path `hypotheses`, if there is one.
    Scores that are not computed are null.

    In `summary`, `change` is the perplexity minus that of `none`, with a paired bootstrap interval over
    documents, the repeats of a draw averaged first; the language versions of a document are drawn
    together. `beyond_random` is the change minus the random control's at the same α and N, `beyond_matched` that of
    mixed features minus their matched control's. `NAME_draws_low` and `_high` are Student's interval over the draws of
    features instead (`beyond_matched`: a draw and its match), null where all draws are the whole class. Memory holds
    the models, a batch, and one number for each document and distinct injection.

    Raises `IsoglossError` for models with different tokenizers or widths, a layer past the end, an SAE or
    tables of features that are not those of `full`, an empty class that was asked for, a language without
    documents, a prompt longer than the context, and losses that are not finite.
    """
    alphas, translations, token_budget = settings.alphas, settings.translations, compute.token_budget
    folder = Path(sae) / f"layer_{layer}"
    tokenizer, models = _load(lm, full, folder, layer, Decoding(settings.bias, settings.rescale), compute)
    metadata = {**metadata, **kernels_of(models.unfinished)}
    check_documents(evaluation, lm, models.unfinished)
    width = len(models.dictionary.w_dec)
    described = read_layer(features, layer, features=width)
    _check_step(described.step, step, folder, same_model=Path(lm).resolve() == Path(full).resolve())
    chosen, left_out = classes_to_inject(described, settings.classes, languages, layer)
    members = {name: described.members[name] for name in chosen if name != MATCHED}
    draws = list(draw_features(members, settings.n_features, settings.repeats, seed))
    masks, mask_of_draw = distinct_masks(draws, width, models.dictionary.w_dec.device)
    plain = len(masks)
    mixed = [(draw, mask) for draw, mask in zip(draws, mask_of_draw, strict=True) if draw.name == MIXED]
    if MATCHED in chosen:
        matched = match_draws([draw for draw, _ in mixed], described.members[MATCHED], described.firings, seed)
        for draw in matched:  # never as one: each has the norm of its own mixed draw
            masks += distinct_masks([draw], width, models.dictionary.w_dec.device)[0]
        draws, mask_of_draw = [*draws, *matched], [*mask_of_draw, *range(plain, len(masks))]
    tasks: list[Task] = []
    if translations is not None:
        tasks = translation_tasks(
            segments, names, shots=translations.shots, sentences=translations.sentences, seed=seed
        )
    vocabulary = models.unfinished.config.get_text_config().vocab_size  # type: ignore[union-attr]
    read = _read_documents(evaluation, languages, settings.documents, tokenizer.bos_token_id, vocabulary)
    norms = injected_norms(models, read.ids, masks=masks, token_budget=token_budget)
    scales = np.ones(len(masks))
    scales[plain:] = scales_to(norms[[mask for _, mask in mixed]], norms[plain:]) if len(masks) > plain else 1
    variants = [Variant(NONE, 0.0, 0, 0, 0, None)] + [
        variant_of(draw, float(alpha), mask, float(scales[mask] * norms[mask]), described)
        for draw, mask in zip(draws, mask_of_draw, strict=True)
        for alpha in alphas
    ]
    losses = document_losses(
        models, read.ids, masks=masks, alphas=alphas, token_budget=token_budget, scales=scales.tolist()
    )
    strengths = {float(alpha): number for number, alpha in enumerate(alphas)}
    of_variant = np.stack(
        [
            (losses.plain if each.mask is None else losses.injected[each.mask, strengths[each.alpha]]).numpy()
            for each in variants
        ]
    )
    _check_finite(of_variant, variants, read, layer, remedy(models.unfinished, read="the SAE"))
    translated = [[] for _ in variants]
    if tasks and translations is not None:
        translated = _translate(
            models, tokenizer, tasks, variants, masks, scales, translations.new_tokens, token_budget
        )
    write_results(
        output,
        summary,
        {"step": step, "layer": layer},
        variants,
        np.exp(of_variant),
        read,
        translated,
        languages,
        {"bootstrap": statistics.bootstrap, "confidence": statistics.confidence, "seed": seed},
        {
            **metadata,
            "full_step": described.step,
            "classes_left_out": left_out,
            "bias": settings.bias,
            "rescale": settings.rescale,
            "sentences": len(tasks[0].segments) if tasks else 0,
        },
    )
    if hypotheses is not None:
        write_hypotheses(hypotheses, variants, translated, metadata)


def _load(
    lm: str, full: str, sae: Path, layer: int, decoding: Decoding, compute: Compute
) -> tuple[PreTrainedTokenizerBase, Models]:
    tokenizer, other = load_tokenizer(lm), load_tokenizer(full)
    if tokenizer.get_vocab() != other.get_vocab() or tokenizer.bos_token_id != other.bos_token_id:
        raise IsoglossError(
            f"{lm} and {full} have different tokenizers, so that their positions do not correspond; take checkpoints"
            " of one model"
        )
    dtype = getattr(torch, compute.dtype)
    unfinished = load_causal_model(lm, dtype=dtype, kernels=compute.kernels)
    decoder = decoder_of(unfinished)
    if not 0 <= layer < len(decoder.layers):
        raise IsoglossError(f"{lm}: no layer {layer}; the model has layers 0 to {len(decoder.layers) - 1}")
    finished = load_base_model(full, last_layer=layer, dtype=dtype, kernels=compute.kernels)
    d_model = decoder_of(finished).d_model
    if d_model != decoder.d_model:
        raise IsoglossError(
            f"{lm}: its residual stream has width {decoder.d_model}, that of {full} {d_model}; take checkpoints of one"
            " model"
        )
    device = next(unfinished.parameters()).device
    dictionary = load_dictionary(sae, layer, d_model=d_model, device=device)
    return tokenizer, Models(unfinished, finished, layer, dictionary, decoding)


def _check_step(described: int, step: int, sae: Path, *, same_model: bool) -> None:
    """Whether features described at one step can be injected at another, as far as the steps tell."""
    if described < step or (described == step and not same_model):
        raise IsoglossError(
            f"the features are those of step {described}, which is not after step {step} that they are injected at;"
            " give the tables of the fully trained model"
        )
    trained = (json.loads((sae / "cfg.json").read_text()).get("metadata") or {}).get("step")
    if trained is not None and trained != described:
        raise IsoglossError(
            f"{sae}: the SAE is of step {trained}, the tables of features are of step {described}; describe the"
            " features of this SAE again"
        )


def _read_documents(path: str, languages: Sequence[str], most: int, bos: Any, vocabulary: int) -> Documents:
    """The first `most` documents of each language, in file order."""
    from isogloss.tables import iter_table

    read = Documents([], [], [])
    counts = dict.fromkeys(languages, 0)
    for frame in iter_table(path, columns=["document", "lang", "ids"]):
        for name, lang, ids in frame.iter_rows():
            if lang in counts and counts[lang] < most:
                counts[lang] += 1
                read.names.append(name)
                read.langs.append(lang)
                read.ids.append(ids)
        if min(counts.values()) == most:
            break
    for lang, count in counts.items():
        if not count:
            raise IsoglossError(f"{path}: no documents of language {lang}; give some under documents")
        if count < most:
            logger.info("%s: %d documents, %d were asked for", lang, count, most)
    for name, ids in zip(read.names, read.ids, strict=True):
        if ids[0] != bos or max(ids) >= vocabulary:
            raise IsoglossError(f"{path}: document {name} was made with another tokenizer; tokenise it again")
    return read


def _check_finite(
    losses: Float[np.ndarray, "variants documents"], variants: Sequence[Variant], read: Documents, layer: int, mend: str
) -> None:
    broken = np.argwhere(~np.isfinite(losses))
    if len(broken):
        number, document = broken[0]
        variant = variants[number]
        raise IsoglossError(
            f"layer {layer}, class {variant.name}, alpha {variant.alpha}, document {read.names[document]} in"
            f" {read.langs[document]}: the loss is not finite; {mend}"
        )


def _translate(
    models: Models,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    variants: Sequence[Variant],
    masks: Sequence[Bool[Tensor, " features"]],
    scales: Float[np.ndarray, " masks"],
    new_tokens: int,
    token_budget: int,
) -> list[list[Translated]]:
    """Every task's translations by each variant."""
    distinct = list(dict.fromkeys((variant.mask, variant.alpha) for variant in variants))
    injections = [
        None if mask is None else Injection(masks[mask], alpha * float(scales[mask])) for mask, alpha in distinct
    ]
    stops = stopping_tokens(tokenizer)
    context = min(context_length(models.unfinished), context_length(models.full))
    translated: list[list[Translated]] = [[] for _ in variants]
    for task in tasks:
        prompts = encode_texts(tokenizer, task.prompts)  # none is empty: each has the names of its languages
        if (longest := max(map(len, prompts)) + new_tokens) > context:
            raise IsoglossError(
                f"a prompt from {task.source} into {task.target} and its answer have up to {longest} tokens, the model"
                f" reads {context}; lower shots or new_tokens of bilingual.intervention.translations"
            )
        continued = continue_greedily(
            models, prompts, injections=injections, stops=stops, new_tokens=new_tokens, token_budget=token_budget
        )
        results: dict[tuple[int | None, float], Translated] = {}
        for key, ids in zip(distinct, continued, strict=True):
            texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
            results[key] = Translated(task, texts, score_translations(texts, task.references, task.target))
        for variant, of_variant in zip(variants, translated, strict=True):
            of_variant.append(results[variant.mask, variant.alpha])
    return translated
