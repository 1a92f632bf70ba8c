"""What paper A's rules compute, read and leave on disk: the stages' code, as arithmetic."""

from collections.abc import Iterator, Sequence
from itertools import product

from isogloss.config.measures import AlignmentRun
from isogloss.config.model import Task
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import assumptions as assumed
from isogloss.plan import flops
from isogloss.plan.flops import Lora, Work, scored
from isogloss.plan.planned_model import Cost, PlannedModel, chunks
from isogloss.plan.sources import translate_cost
from isogloss.plan.texts import Texts, alike, sae_shape, together


def disparity_costs(planned: PlannedModel) -> Iterator[Cost]:
    """Paper A's rules for one model, those that cost more than their start-up."""
    model = planned.model
    if model.reads_phrases:
        if isinstance(model, PretrainedModel):
            yield _reproduce(planned)
        yield translate_cost(planned)
    if "similarity" in model.analyses:
        yield _capture(planned)
    if "gap" in model.analyses:
        yield _encode(planned, planned.languages, None)
    for run in planned.runs.values():
        yield _align(planned, run)
        yield _encode(planned, planned.run_languages(run), planned.lora(run))
    if "benchmarks" in model.analyses:
        yield _benchmark(planned, planned.languages, None)
        for run in planned.runs.values():
            yield _benchmark(planned, planned.languages if run.benchmark is None else run.benchmark, planned.lora(run))


def _reproduce(planned: PlannedModel) -> Cost:
    """Recorded texts again, each to its layer, and the one feature that they were recorded for."""
    kind, features = sae_shape(planned.model)
    each, n = alike(planned.study.phrases.check.records, assumed.RECORD_TOKENS), len(planned.layers)
    forward = sum(_forward(planned, layer + 1, each) for layer in planned.layers)
    sae = n * flops.sae_columns(kind, planned.decoder.d_model, features, 1, each.positions)
    return _by_block(planned, "reproduce", 1, n * each.positions, forward, sae, n * each.number * 60)


def _capture(planned: PlannedModel) -> Cost:
    depth, part = planned.layers[-1] + 1, 1 / planned.study.similarity.feature_stride
    texts = together(planned.corpus[layer, lang] for layer in planned.layers for lang in planned.languages).share(part)
    jobs, load = planned.language_jobs(planned.languages), planned.weights(depth)
    disk = texts.number * len(planned.layers) * (assumed.POOLED_NUMBER * planned.decoder.d_model + 1)
    return Cost("capture", jobs, "gpu", load, texts.positions, _forward(planned, depth, texts), disk=disk)


def _encode(planned: PlannedModel, langs: Sequence[str], lora: Lora | None) -> Cost:
    """Each phrase to its own layer, and three columns of that layer's SAE: its own, a shuffled one, a random one."""
    kind, features = sae_shape(planned.model)
    parts = [(layer, planned.corpus[layer, lang]) for layer in planned.layers for lang in langs]
    tokens, number = sum(texts.positions for _, texts in parts), sum(texts.number for _, texts in parts)
    forward = sum(_forward(planned, layer + 1, texts, lora) for layer, texts in parts)
    sae = flops.sae_columns(kind, planned.decoder.d_model, features, 3, tokens)
    return _by_block(
        planned, "encode", planned.language_jobs(langs), tokens, forward, sae, number * assumed.ACTIVATION_ROW
    )


def _align(planned: PlannedModel, run: AlignmentRun) -> Cost:
    """Both texts of each pair forward and backward to the target layer, which is the last that is loaded."""
    alignment, decoder, target, lora = planned.study.alignment, planned.decoder, run.target_layer, planned.lora(run)
    reference = _one(planned.corpus[target, planned.reference])
    others = [_one(planned.corpus[target, lang]) for lang in run.languages]
    pair = together([reference, together(others).share(1 / len(others))])
    texts = pair.share(alignment.iterations * alignment.batch_size)
    longest = max(text.length for text in (reference, *others))
    batch = min(alignment.batch_size, max(1, int(planned.study.compute.token_budget // (2 * longest or 1))))
    kind, features = sae_shape(planned.model)
    sae = 2 * flops.sae_columns("standard", decoder.d_model, features, batch, texts.positions)
    sae += flops.sae_columns(kind, decoder.d_model, features, 0, texts.positions)
    work = _forward(planned, target + 1, texts, lora)
    work += flops.backward_to_lora(decoder, target, texts.positions, texts.products, lora)
    disk = 4.0 * len(lora.layers) * lora.layer_parameters(decoder) + alignment.iterations * 60
    return Cost("align", 1, "gpu", planned.weights(target + 1), texts.positions, work, sae, disk)


def _benchmark(planned: PlannedModel, langs: Sequence[str], lora: Lora | None) -> Cost:
    tokens = forward = disk = 0.0
    for lang, task in product(langs, planned.tasks):
        n, work = planned.questions(task), question(planned, task, lang, lora)
        tokens += n * work.tokens
        forward += n * work.forward
        disk += n * assumed.BENCHMARK_ROW
    jobs = len(chunks(planned.tasks, planned.study.compute.tasks_per_job)) * planned.language_jobs(langs)
    return Cost("benchmark", jobs, "gpu", planned.weights(), tokens, forward, disk=disk)


def question(planned: PlannedModel, task: Task, lang: str, lora: Lora | None = None) -> Work:
    """A question of a task: its prompt, as long as its shots make it, and its choices."""
    ratio = planned.settings.tokens_per_reference_token(lang, "en")
    choice = assumed.CHOICE_TOKENS[task] * (1 if task == "mmlu" else ratio)
    example, shots = assumed.EXAMPLE_TOKENS[task] * ratio, planned.study.benchmarks.tasks[task].shots
    prompt = min(1 + shots * (example + choice) + example, planned.context)
    return scored(planned.decoder, prompt, [choice] * assumed.CHOICES, lora=lora)


def _by_block(
    planned: PlannedModel, rule: str, jobs: int, tokens: float, forward: float, sae: float, disk: float
) -> Cost:
    """A rule of `jobs` jobs for each block of layers."""
    load = sum(map(planned.block_bytes, planned.blocks)) / len(planned.blocks)
    return Cost(rule, jobs * len(planned.blocks), "gpu", load, tokens, forward, sae, disk)


def _forward(planned: PlannedModel, depth: int, texts: Texts, lora: Lora | None = None) -> float:
    return flops.forward(planned.decoder, depth, texts.positions, texts.products, lora)


def _one(texts: Texts) -> Texts:
    return texts.share(1 / texts.number) if texts.number else texts
