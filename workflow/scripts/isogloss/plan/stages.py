"""What each rule of a study computes, reads and leaves on disk: the stages' code, as arithmetic."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from isogloss.config import Study
from isogloss.config.measures import AlignmentRun, TaskSettings
from isogloss.config.model import Task
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel
from isogloss.languages import language_table
from isogloss.plan import flops
from isogloss.plan import settings as assumed
from isogloss.plan.flops import Lora
from isogloss.plan.settings import Settings
from isogloss.plan.subject import Subject, block_bytes, size_on_disk, tasks_of, translator_sizes
from isogloss.plan.texts import Texts, alike, sae_shape, together

_TOY_DOCUMENT = 30  # tokens; attention over so few counts for nothing


class Cost(NamedTuple):
    """All jobs of one rule for one model (or for none)."""

    rule: str
    model: str
    jobs: int  # by the configuration; a dry run tells the true number
    device: Literal["gpu", "cpu", "local"]
    load: float = 0.0  # bytes of weights that a job reads, mean
    dtype: str = "float32"  # of the forward; SAEs are float32
    tokens: float = 0.0  # that go through a model, BOS included, padding not
    forward: float = 0.0  # FLOPs of language models and translators, backward passes included
    sae: float = 0.0  # FLOPs of SAEs
    disk: float = 0.0  # bytes of all outputs
    seconds: float = 0.0  # of work that is not told by FLOPs: downloads, parsing, translation; all jobs


def costs(subject: Subject) -> Iterator[Cost]:
    """Every rule of a model that costs more than its start-up."""
    toy = isinstance(subject.model, ToyModel)
    if toy:
        yield from _toy(subject)
    else:
        yield from _fetched(subject)
    if subject.reads_phrases:
        if not toy:
            yield _reproduce(subject)
        yield _translate(subject)
    analyses = subject.model.analyses
    if "similarity" in analyses:
        yield _capture(subject)
    if "gap" in analyses:
        yield _encode(subject, subject.langs, None)
    for run in subject.runs.values():
        yield _align(subject, run)
        yield _encode(subject, subject.languages_of(run), subject.lora(run))
    if "benchmarks" in analyses:
        yield from _benchmarks(subject)


def _toy(subject: Subject) -> Iterator[Cost]:
    model, decoder, name, study = subject.model, subject.decoder, subject.name, subject.study
    assert isinstance(model, ToyModel)
    n, depth, width = len(subject.layers), subject.layers[-1] + 1, model.sae.features
    weights = 4.0 * decoder.parameters()

    def once(tokens: float) -> float:
        return flops.forward(decoder, depth, tokens, tokens * _TOY_DOCUMENT)

    tokens = model.training.tokens
    training = flops.forward(decoder, decoder.layers, tokens, tokens * _TOY_DOCUMENT) + flops.head(decoder, tokens)
    yield Cost("toy_tokenizer", name, 1, "cpu")
    copies = model.training.checkpoints + 1
    yield Cost("train_toy", name, 1, "cpu", tokens=tokens, forward=3 * training, disk=copies * weights)
    tokens = model.sae.tokens + model.sae.held_out_tokens
    dense = flops.sae_columns("topk", decoder.d_model, width, 0, 1)
    yield Cost(
        "train_sae",
        name,
        1,
        "gpu",
        load=weights,
        dtype=subject.dtype,
        tokens=tokens,
        forward=once(tokens),
        sae=n * dense * (3 * model.sae.tokens + model.sae.held_out_tokens),
        disk=n * flops.sae_bytes(decoder.d_model, width),
    )
    if subject.reads_phrases:
        tokens = study.phrases.corpus_tokens
        yield Cost(
            "phrases",
            name,
            1,
            "gpu",
            load=weights,
            dtype=subject.dtype,
            tokens=tokens,
            forward=once(tokens),
            sae=n * dense * tokens,
            disk=_phrases_in(subject, subject.reference) * assumed.PHRASE_ROW,
        )


def _fetched(subject: Subject) -> Iterator[Cost]:
    model, name, decoder = subject.model, subject.name, subject.decoder
    assert isinstance(model, PretrainedModel)

    def local(rule: str, jobs: int, size: float, folders: Sequence[str], download: bool) -> Cost:
        there = [size_on_disk(subject.folder / folder) for folder in folders]
        found = sum(there) if all(there) else 0
        if found:
            subject.notes.append(f"{name}: {rule}: bytes counted")
        seconds = (found or size) / (1e6 * subject.settings.download_mb_per_second) if download else 0.0
        return Cost(rule, name, jobs, "local", disk=found or size, seconds=seconds)

    weights = decoder.parameters() * subject.weight_bytes
    if set(model.analyses) != {"bilingual"}:
        yield local("fetch_model", 1, weights, ["lm"], model.source.folder is None)
    if not subject.reads_phrases:
        return
    assert model.saes is not None
    assert model.neuronpedia is not None
    layers, features = subject.layers, model.saes.features
    n = len(layers)
    size = n * flops.sae_bytes(decoder.d_model, features)
    away = model.saes.source is None or model.saes.source.folder is None
    converted = local("fetch_sae", n, size, [f"sae/layer_{layer}" for layer in layers], away)
    yield converted._replace(disk=(1 + away) * converted.disk)  # what was downloaded stays in the Hub's cache
    exports = [f"neuronpedia/layer_{layer}" for layer in layers]
    yield local("fetch_exports", n, n * features * assumed.EXPORT_FEATURE, exports, model.neuronpedia.folder is None)
    phrases = _phrases_in(subject, subject.reference)
    records = n * subject.study.phrases.check.records
    yield Cost(
        "exported_phrases",
        name,
        n,
        "cpu",
        disk=phrases * assumed.PHRASE_ROW + records * assumed.RECORD_ROW,
        seconds=n * features * assumed.EXPORT_RECORDS / assumed.RECORDS_PER_SECOND,
    )


def shared_costs(study: Study, settings: Settings, results: Path) -> Iterator[Cost]:
    """What is fetched once for all pretrained models: translators and questions."""
    pretrained = [study.models[name] for name in study.of_kind("pretrained")]
    translation, langs = study.translation, [code for code in study.languages.all if code != study.languages.reference]
    speed = 1e6 * settings.download_mb_per_second
    wanted = any({"similarity", "gap"} & set(model.analyses) for model in study.models.values())
    if translation.backend == "opus-mt" and wanted:
        size = seconds = 0.0
        jobs = 0
        for direction, models in (("to", translation.models), ("from", translation.back_models)):
            for lang in filter(models.__contains__, langs):
                folder = results / "translators" / direction / lang
                weights = 4.0 * flops.translator_parameters(translator_sizes(study, lang, direction, results))
                converted = weights / 4 * assumed.WEIGHT_BYTES[translation.compute_type]
                away = models[lang].source.folder is None
                made = size_on_disk(folder) or weights + (converted if translation.engine == "ctranslate2" else 0)
                size += made + (weights if away else 0)  # pickled weights stay in the Hub's cache
                seconds += weights / speed if away else 0
                jobs += 1
        yield Cost("fetch_translator", "", jobs, "local", disk=size, seconds=seconds)
    tasks = {
        task for model in pretrained if "benchmarks" in model.analyses for task in model.tasks or study.benchmarks.tasks
    }
    if tasks:
        size = sum(
            size_on_disk(results / "benchmarks" / f"m_{task}")
            or 1.2 * assumed.QUESTIONS[task] * assumed.QUESTION_BYTES * len(study.languages.all)
            for task in tasks
        )
        yield Cost("fetch_questions", "", len(tasks), "local", disk=size, seconds=size / speed)


def _reproduce(subject: Subject) -> Cost:
    """Recorded texts again, each to its layer, and the one feature that they were recorded for."""
    kind, features = sae_shape(subject.model)
    each = alike(subject.study.phrases.check.records, assumed.RECORD_TOKENS)
    n = len(subject.layers)
    return Cost(
        "reproduce",
        subject.name,
        len(subject.blocks),
        "gpu",
        load=_block_load(subject),
        dtype=subject.dtype,
        tokens=n * each.positions,
        forward=sum(_forward(subject, layer + 1, each) for layer in subject.layers),
        sae=n * flops.sae_columns(kind, subject.decoder.d_model, features, 1, each.positions),
        disk=n * each.number * 60,
    )


def _translate(subject: Subject) -> Cost:
    study, langs = subject.study, subject.langs
    translation = study.translation
    pretrained = isinstance(subject.model, PretrainedModel)
    disk = sum(_phrases_in(subject, lang) * _translation_row(lang, subject, pretrained) for lang in langs)
    jobs = len(subject.blocks) * len(langs)
    if translation.backend == "parallel":
        return Cost("translate", subject.name, jobs, "cpu", disk=disk)
    speed = subject.settings.translations_per_second(
        translation.engine, translation.compute_type, translation.beam_size
    )
    tokens = forward = seconds = load = 0.0
    source = together(subject.corpus.texts[layer, subject.reference] for layer in subject.layers)
    length = source.tokens / source.number if source.number else 0.0
    for direction, models in (("to", translation.models), ("from", translation.back_models)):
        for lang in (code for code in langs if code in models and code != subject.reference):
            sizes = translator_sizes(study, lang, direction, subject.folder.parent)
            number = _phrases_in(subject, lang)
            tokens += 2 * number * length
            forward += number * flops.translation(sizes, length, translation.beam_size)
            seconds += number * length / 15 / speed
            load += 4.0 * flops.translator_parameters(sizes) / len(langs)
    device = subject.settings.translation_device
    return Cost(
        "translate", subject.name, jobs, device, load, translation.compute_type, tokens, forward, 0.0, disk, seconds
    )


def _capture(subject: Subject) -> Cost:
    layers, d = subject.layers, subject.decoder.d_model
    every = subject.study.similarity.feature_stride
    read = together(subject.corpus.texts[layer, lang] for layer in layers for lang in subject.langs).share(1 / every)
    return Cost(
        "capture",
        subject.name,
        subject.language_jobs(subject.langs),
        "gpu",
        load=subject.decoder.parameters(layers[-1] + 1) * subject.weight_bytes,
        dtype=subject.dtype,
        tokens=read.positions,
        forward=_forward(subject, layers[-1] + 1, read),
        disk=read.number * len(layers) * (assumed.POOLED_NUMBER * d + 1),
    )


def _encode(subject: Subject, langs: Sequence[str], lora: Lora | None) -> Cost:
    found = encode_work(subject, subject.layers, langs, lora)
    return Cost(
        "encode",
        subject.name,
        len(subject.blocks) * subject.language_jobs(langs),
        "gpu",
        load=_block_load(subject),
        dtype=subject.dtype,
        tokens=found.tokens,
        forward=found.forward,
        sae=found.sae,
        disk=found.number * assumed.ACTIVATION_ROW,
    )


class Work(NamedTuple):
    """Passes of texts through model and SAE."""

    number: float
    tokens: float
    forward: float
    sae: float


def encode_work(subject: Subject, layers: Sequence[int], langs: Sequence[str], lora: Lora | None) -> Work:
    """Each phrase to its own layer, and three columns of that layer's SAE: its own, a shuffled one, a random one."""
    kind, features = sae_shape(subject.model)
    parts = [(layer, subject.corpus.texts[layer, lang]) for layer in layers for lang in langs]
    return Work(
        sum(texts.number for _, texts in parts),
        sum(texts.positions for _, texts in parts),
        sum(_forward(subject, layer + 1, texts, lora) for layer, texts in parts),
        sum(flops.sae_columns(kind, subject.decoder.d_model, features, 3, texts.positions) for _, texts in parts),
    )


def _align(subject: Subject, run: AlignmentRun) -> Cost:
    """Both texts of each pair forward and backward to the target layer, which is the last that is loaded."""
    alignment, decoder, target = subject.study.alignment, subject.decoder, run.target_layer
    lora = subject.lora(run)
    pairs = alignment.iterations * alignment.batch_size
    reference = _one(subject.corpus.texts[target, subject.reference])
    others = [_one(subject.corpus.texts[target, lang]) for lang in run.languages]
    texts = together([reference, together(others).share(1 / len(others))]).share(pairs)
    longest = max(text.length for text in (reference, *others))
    together_at_once = min(alignment.batch_size, max(1, int(subject.study.compute.token_budget // (2 * longest or 1))))
    kind, features = sae_shape(subject.model)
    columns = 2 * flops.sae_columns("standard", decoder.d_model, features, together_at_once, texts.positions)
    whole = flops.sae_columns(kind, decoder.d_model, features, 0, texts.positions)
    return Cost(
        "align",
        subject.name,
        1,
        "gpu",
        load=decoder.parameters(target + 1) * subject.weight_bytes,
        dtype=subject.dtype,
        tokens=texts.positions,
        forward=_forward(subject, target + 1, texts, lora)
        + flops.backward_to_lora(decoder, target, texts.positions, texts.products, lora),
        sae=columns + whole,
        disk=4.0 * flops.lora_parameters(decoder, lora) + alignment.iterations * 60,
    )


def _benchmarks(subject: Subject) -> Iterator[Cost]:
    adapters: list[tuple[Sequence[str], Lora | None]] = [(subject.langs, None)]
    for run in subject.runs.values():
        adapters.append((subject.langs if run.benchmark is None else run.benchmark, subject.lora(run)))
    tasks = tasks_of(subject.study, subject.model)
    per_job = subject.study.compute.tasks_per_job
    blocks = 1 if per_job == "all" else math.ceil(len(tasks) / per_job)
    decoder = subject.decoder
    for langs, lora in adapters:
        tokens = forward = disk = 0.0
        for lang in langs:
            for task in tasks:
                asked = subject.questions[task]
                each = question(subject, task, subject.study.benchmarks.tasks[task], lang)
                tokens += asked * each.positions
                products = asked * each.products
                forward += flops.forward(decoder, decoder.layers, asked * each.positions, products, lora)
                forward += flops.head(decoder, asked * each.predicted)
                disk += asked * assumed.BENCHMARK_ROW
        yield Cost(
            "benchmark",
            subject.name,
            blocks * subject.language_jobs(langs),
            "gpu",
            load=decoder.parameters() * subject.weight_bytes,
            dtype=subject.dtype,
            tokens=tokens,
            forward=forward,
            disk=disk,
        )


class Question(NamedTuple):
    """One question with its prompt and choices."""

    positions: float  # the prompt once, then all but the last token of each choice
    products: float
    predicted: float  # positions whose logits are computed


def question(subject: Subject, task: Task, entry: TaskSettings, lang: str) -> Question:
    """The prompt, as long as its shots make it, and its choices as one sequence."""
    ratio = subject.settings.tokens_per_reference_token(lang, "en")
    choice = assumed.CHOICE_TOKENS[task] * (1 if task == "mmlu" else ratio)
    asked = assumed.EXAMPLE_TOKENS[task] * ratio
    prompt = min(1 + entry.shots * (asked + choice) + asked, subject.context)
    more = assumed.CHOICES * (choice - 1)
    return Question(prompt + more, (prompt + more) ** 2, 1 + more)


def _block_load(subject: Subject) -> float:
    return sum(block_bytes(subject, block) for block in subject.blocks) / len(subject.blocks)


def _forward(subject: Subject, depth: int, texts: Texts, lora: Lora | None = None) -> float:
    return flops.forward(subject.decoder, depth, texts.positions, texts.products, lora)


def _one(texts: Texts) -> Texts:
    return texts.share(1 / texts.number) if texts.number else texts


def _phrases_in(subject: Subject, lang: str) -> float:
    return sum(subject.corpus.texts[layer, lang].number for layer in subject.layers)


def _translation_row(lang: str, subject: Subject, pretrained: bool) -> float:
    if lang == subject.reference and pretrained:
        return assumed.REFERENCE_ROW
    return assumed.TRANSLATION_ROW * (1.0 if language_table()[lang].script == "Latn" else assumed.OTHER_SCRIPT)
