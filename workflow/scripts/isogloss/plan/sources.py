"""What training a toy, fetching, phrases and translations cost and leave on disk, as arithmetic."""

from collections.abc import Iterator

from isogloss.config import Study
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel
from isogloss.languages import language_table
from isogloss.plan import assumptions as assumed
from isogloss.plan import flops
from isogloss.plan.assumptions import Settings
from isogloss.plan.planned_model import Cost, PlannedModel
from isogloss.plan.texts import together


def toy_costs(planned: PlannedModel) -> Iterator[Cost]:
    """The rules from `toy_tokenizer` to `phrases` for a toy model."""
    model, decoder, weights = planned.model, planned.decoder, planned.weights()
    assert isinstance(model, ToyModel)
    n, depth = len(planned.layers), planned.layers[-1] + 1

    def forward(depth: int, tokens: float) -> float:
        return flops.forward(decoder, depth, tokens, tokens * assumed.TOY_DOCUMENT)

    tokens, copies = model.training.tokens, model.training.checkpoints + 1
    training = 3 * (forward(decoder.layers, tokens) + flops.head(decoder, tokens))
    yield Cost("toy_tokenizer", 1, "cpu")
    yield Cost("train_toy", 1, "cpu", tokens=tokens, forward=training, disk=copies * weights)
    trained, tokens = model.sae.tokens, model.sae.tokens + model.sae.held_out_tokens
    dense = n * flops.sae_columns("topk", decoder.d_model, model.sae.features, 0, 1)
    sae, size = dense * (2 * trained + tokens), n * flops.sae_bytes(decoder.d_model, model.sae.features)
    yield Cost("train_sae", 1, "gpu", weights, tokens, forward(depth, tokens), sae, size)
    if model.reads_phrases:
        tokens = planned.study.phrases.corpus_tokens
        size = planned.phrases_in(planned.reference) * assumed.PHRASE_ROW
        yield Cost("phrases", 1, "gpu", weights, tokens, forward(depth, tokens), dense * tokens, size)


def fetch_costs(planned: PlannedModel) -> Iterator[Cost]:
    """The rules from `fetch_model` to `exported_phrases` for a pretrained model."""
    model = planned.model
    assert isinstance(model, PretrainedModel)
    speed = 1e6 * planned.settings.download_mb_per_second
    if set(model.analyses) != {"bilingual"}:
        weights = planned.weights()
        yield Cost("fetch_model", 1, "local", disk=weights, seconds=0 if model.source.folder else weights / speed)
    if not model.reads_phrases:
        return
    assert model.saes is not None
    assert model.neuronpedia is not None
    n, features = len(planned.layers), model.saes.features
    size = n * flops.sae_bytes(planned.decoder.d_model, features)
    away = model.saes.source is None or model.saes.source.folder is None  # what was downloaded stays in the Hub's cache
    yield Cost("fetch_sae", n, "local", disk=(1 + away) * size, seconds=away * size / speed)
    size = n * features * assumed.EXPORT_FEATURE
    yield Cost("fetch_exports", n, "local", disk=size, seconds=0 if model.neuronpedia.folder else size / speed)
    size = planned.phrases_in(planned.reference) * assumed.PHRASE_ROW
    size += n * planned.study.phrases.check.records * assumed.RECORD_ROW
    seconds = n * features * assumed.EXPORT_RECORDS / assumed.RECORDS_PER_SECOND
    yield Cost("exported_phrases", n, "cpu", disk=size, seconds=seconds)


def translate_cost(planned: PlannedModel) -> Cost:
    """The rule `translate` for one model; a translation is as long as its source."""
    translation, pretrained = planned.study.translation, isinstance(planned.model, PretrainedModel)
    jobs, disk = len(planned.blocks) * len(planned.languages), 0.0
    for lang in planned.languages:
        row = assumed.TRANSLATION_ROW * (1 if language_table()[lang].script == "Latn" else assumed.OTHER_SCRIPT)
        in_reference = pretrained and lang == planned.reference
        disk += planned.phrases_in(lang) * (assumed.REFERENCE_ROW if in_reference else row)
    if translation.backend == "parallel":
        return Cost("translate", jobs, "cpu", disk=disk)
    speed = planned.settings.translations_per_second(
        translation.engine, translation.compute_type, translation.beam_size
    )
    source = together(planned.corpus[layer, planned.reference] for layer in planned.layers)
    length = source.tokens / source.number if source.number else 0.0
    others = [lang for lang in planned.languages if lang != planned.reference]
    passes = [lang for lang in others for models in (translation.models, translation.back_models) if lang in models]
    number = sum(planned.phrases_in(lang) for lang in passes)
    load = 4.0 * len(passes) * flops.translator_parameters(assumed.TRANSLATOR) / len(planned.languages)
    forward = number * flops.translation(assumed.TRANSLATOR, length, translation.beam_size)
    device, tokens, seconds = planned.settings.translation_device, 2 * number * length, number * length / 15 / speed
    return Cost("translate", jobs, device, load, tokens, forward, disk=disk, seconds=seconds)


def shared_fetch_costs(study: Study, settings: Settings) -> Iterator[Cost]:
    """What is fetched once for all pretrained models: translators and questions."""
    speed, translation = 1e6 * settings.download_mb_per_second, study.translation
    wanted = any({"similarity", "gap"} & set(model.analyses) for model in study.models.values())
    if translation.backend == "opus-mt" and wanted:
        pairs = [*translation.models.items(), *translation.back_models.items()]
        models = [model for lang, model in pairs if lang in study.languages.all and lang != study.languages.reference]
        parameters = flops.translator_parameters(assumed.TRANSLATOR)
        away = sum(model.source.folder is None for model in models)  # their pickled weights stay in the Hub's cache
        size = 4.0 * parameters * (len(models) + away)
        if translation.engine == "ctranslate2":
            size += len(models) * parameters * assumed.WEIGHT_BYTES[translation.compute_type]
        yield Cost("fetch_translator", len(models), "local", disk=size, seconds=away * 4.0 * parameters / speed)
    pretrained = [study.models[name] for name in study.of_kind("pretrained")]
    asked = [model.tasks or list(study.benchmarks.tasks) for model in pretrained if "benchmarks" in model.analyses]
    if tasks := {task for tasks in asked for task in tasks}:
        rows = sum(1.2 * assumed.QUESTIONS[task] * len(study.languages.all) for task in tasks)
        size = rows * assumed.QUESTION_BYTES
        yield Cost("fetch_questions", len(tasks), "local", disk=size, seconds=size / speed)
