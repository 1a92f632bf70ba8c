"""What each rule computes, reads and leaves on disk: the stages' code, as arithmetic.

Rules that cost next to nothing but their start-up have no cost here, nor has the making of toy models.
"""

import math
from collections.abc import Iterator, Sequence

from isogloss.config import Study
from isogloss.config.base import middle
from isogloss.config.measures import AlignmentRun
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel
from isogloss.config.translation import MULTILINGUAL
from isogloss.plan import assumptions as assumed
from isogloss.plan import flops
from isogloss.plan.ablation import ablation_cost
from isogloss.plan.exploration import exploration_cost
from isogloss.plan.flops import scored, swept
from isogloss.plan.planned_model import Cost, PlannedModel, chunks, download


def study_costs(study: Study, models: Sequence[PlannedModel]) -> Iterator[Cost]:
    """The costs of all rules of a study."""
    yield from _shared_costs(study)
    for planned in models:
        analyses = planned.model.analyses
        if isinstance(planned.model, PretrainedModel):
            yield from _fetch_costs(planned, planned.model)
        if planned.model.reads_phrases:
            yield from _phrase_costs(planned)
            yield _translate(planned)
        yield from [_capture(planned)] * ("similarity" in analyses)
        yield from encode_costs(planned, study.compute.layers_per_job)
        yield from [_codes(planned), exploration_cost(planned)] * ("gap" in analyses)
        for run in planned.runs:
            yield _align(planned, run)
        if "benchmarks" in analyses:
            languages = study.languages.all
            for langs in (languages, *(languages if run.benchmark is None else run.benchmark for run in planned.runs)):
                yield _benchmark(planned, langs)
        yield from _bilingual_costs(planned) if "bilingual" in analyses else ()
        yield from _latent_costs(planned) if "latent" in analyses else ()
        yield from [ablation_cost(planned)] if "causal" in analyses else ()


# Fetching


def _shared_costs(study: Study) -> Iterator[Cost]:
    """What is fetched once for all models: translators, questions."""
    translation = study.translation
    if translation.backend != "parallel" and any(model.reads_phrases for model in study.models.values()):
        copies = 3 if translation.engine == "ctranslate2" else 2  # pickled weights stay in the Hub's cache
        size = 4 * assumed.translator_parameters(translation)  # in float32
        if translation.backend in MULTILINGUAL:
            yield download("fetch_multilingual", size, copies)
        else:
            yield download("fetch_translator", _directions(study) * size, copies)
    fetched = [study.models[name] for name in study.of_kind("pretrained")]
    wanted = [model.tasks or study.benchmarks.tasks for model in fetched if "benchmarks" in model.analyses]
    rows = sum(assumed.of(assumed.QUESTIONS, task) for task in {task for tasks in wanted for task in tasks})
    yield download("fetch_questions", rows * len(study.languages.all) * assumed.QUESTION_BYTES)
    if any("latent" in model.analyses for model in fetched):
        tasks = study.latent.tasks
        rows = sum(data_set(study, task)[0] * len(study.latent_languages(task)) for task in tasks)
        yield download("fetch_parallel_questions", 2 * rows * assumed.PARALLEL_ROW)
        yield Cost("parallel_questions", disk=rows * assumed.PARALLEL_ROW)


def _directions(study: Study) -> int:
    """Directions that phrases are translated in."""
    if study.translation.backend in MULTILINGUAL:
        return (1 + study.translation.round_trip) * (len({*study.languages.all} - {study.phrases_language}))
    models = study.translation.models, study.translation.back_models
    return sum(lang in directions for directions in models for lang in study.languages.all)


def _fetch_costs(planned: PlannedModel, model: PretrainedModel) -> Iterator[Cost]:
    weights, n = planned.weights(), len(model.layer_list)
    yield from [download("fetch_model", weights)] * (set(model.analyses) != {"bilingual"})
    for source in model.checkpoints.values() if "bilingual" in model.analyses else ():
        yield download("fetch_checkpoint", weights) if source.folder is None else Cost("fetch_checkpoint", disk=weights)
    _, features = planned.sae
    if model.saes is not None:
        yield download("fetch_sae", n * flops.sae_bytes(planned.decoder.d_model, features), copies=2)  # the Hub's cache
    if model.reads_phrases and model.neuronpedia is not None:
        yield download("fetch_exports", n * features * assumed.EXPORT_FEATURE)


# Paper A


def _phrase_costs(planned: PlannedModel) -> Iterator[Cost]:
    """SAEs that are trained here and the search for phrases, each one pass over documents; a toy's cost nothing."""
    study, model, decoder, (kind, features) = planned.study, planned.model, planned.decoder, planned.sae
    if not isinstance(model, PretrainedModel):
        return
    depth, n = model.layer_list[-1] + 1, len(model.layer_list)

    def forward(tokens: float) -> float:
        return flops.forward(decoder, depth, tokens, tokens * assumed.DOCUMENT_TOKENS)

    if model.saes is None and (recipe := model.sae) is not None:
        read, disk = recipe.tokens + recipe.held_out_tokens, n * flops.sae_bytes(decoder.d_model, features)
        work = n * flops.sae_training(decoder.d_model, features, recipe.k, recipe.tokens, recipe.held_out_tokens)
        yield Cost("train_sae", 1, planned.weights(depth), read, forward(read), work, disk)
    if model.neuronpedia is None:
        tokens = study.phrases.corpus_tokens
        columns = math.ceil(features / study.phrases.feature_stride)
        work = n * flops.sae_columns(kind, decoder.d_model, features, columns, tokens)
        yield Cost("phrases", 1, planned.weights(depth), tokens, forward(tokens), work)


def _translate(planned: PlannedModel) -> Cost:
    """A translation is as long as its source."""
    study, number = planned.study, len(planned.model.layer_list) * planned.phrases
    disk = len(study.languages.all) * number * assumed.TRANSLATION_ROW
    if study.translation.backend == "parallel":
        return Cost("translate", disk=disk)
    tokens = _directions(study) * number * planned.phrase_tokens(study.languages.reference)
    seconds = tokens / assumed.SENTENCE_TOKENS / planned.settings.translations_per_second(study.translation)
    return Cost("translate", tokens=2 * tokens, disk=disk, seconds=seconds)


def _capture(planned: PlannedModel) -> Cost:
    layers, langs = planned.model.layer_list, planned.study.languages.all
    number = len(layers) * planned.phrases / planned.study.similarity.feature_stride
    tokens, products = planned.texts(langs, number)
    forward = flops.forward(planned.decoder, layers[-1] + 1, tokens, products)
    disk = len(langs) * number * len(layers) * assumed.POOLED_NUMBER * planned.decoder.d_model
    return Cost("capture", planned.language_jobs(langs), planned.weights(layers[-1] + 1), tokens, forward, disk=disk)


def encode_costs(planned: PlannedModel, layers_per_job: int | str) -> Iterator[Cost]:
    """Each phrase to its own layer, and three columns of that layer's SAE: its own, a shuffled one, a random one."""
    study, layers, decoder, (kind, features) = planned.study, planned.model.layer_list, planned.decoder, planned.sae
    tables = [study.languages.all] if "gap" in planned.model.analyses else []
    tables += [[study.languages.reference, *run.languages] for run in planned.runs]
    blocks = chunks(layers, layers_per_job)
    for langs in tables:
        tokens, products = planned.texts(langs, planned.phrases)
        forward = flops.forward(decoder, sum(layer + 1 for layer in layers), tokens, products)
        sae = len(layers) * flops.sae_columns(kind, decoder.d_model, features, 3, tokens)
        disk = len(layers) * len(langs) * planned.phrases * assumed.ACTIVATION_ROW
        jobs = len(blocks) * planned.language_jobs(langs)
        yield Cost("encode", jobs, _block_load(planned, blocks), len(layers) * tokens, forward, sae, disk)


def _codes(planned: PlannedModel) -> Cost:
    """The same texts in every language, once a block of layers, and the sampled features of every layer."""
    study, layers, decoder, (kind, features) = planned.study, planned.model.layer_list, planned.decoder, planned.sae
    langs, number = study.languages.all, study.reciprocal.texts
    blocks, (tokens, products) = chunks(layers, study.compute.layers_per_job), planned.texts(langs, number)
    forward = flops.forward(decoder, sum(block[-1] + 1 for block in blocks), tokens, products)
    stride = study.reciprocal.feature_stride or study.phrases.feature_stride
    sae = len(layers) * flops.sae_columns(kind, decoder.d_model, features, math.ceil(features / stride), tokens)
    disk = len(layers) * len(langs) * number * assumed.CODE_ROW / stride
    jobs, load = len(blocks) * planned.language_jobs(langs), _block_load(planned, blocks)
    return Cost("codes", jobs, load, len(blocks) * tokens, forward, sae, disk)


def _block_load(planned: PlannedModel, blocks: Sequence[Sequence[int]]) -> float:
    """Bytes that a job over a block of layers reads, mean over blocks: the model to the last, and the encoders."""
    encoders = 4.0 * (planned.decoder.d_model + 2) * planned.sae[1] * sum(map(len, blocks))
    return (sum(planned.weights(block[-1] + 1) for block in blocks) + encoders) / len(blocks)


def _align(planned: PlannedModel, run: AlignmentRun) -> Cost:
    """Both texts of each pair forward and backward to the target layer, which is the last that is loaded."""
    alignment, decoder, (kind, features) = planned.study.alignment, planned.decoder, planned.sae
    pairs, depth = alignment.iterations * alignment.batch_size, run.target_layer + 1
    in_reference = planned.texts([planned.study.languages.reference], pairs)
    translated = planned.texts(run.languages, pairs / len(run.languages))
    tokens, products = map(sum, zip(in_reference, translated, strict=True))
    sae = 2 * flops.sae_columns("standard", decoder.d_model, features, 1, tokens)  # each text's own, and backward
    sae += flops.sae_columns(kind, decoder.d_model, features, 0, tokens)
    tuned = range(depth) if run.tuned_layers == "up_to_target" else run.tuned_layers
    work = flops.aligned(decoder, run.target_layer, min(tuned), tokens, products)
    return Cost("align", 1, planned.weights(depth), tokens, work, sae)


def _benchmark(planned: PlannedModel, langs: Sequence[str]) -> Cost:
    tasks = planned.study.benchmarks.tasks
    numbers: dict[str, float] = {
        task: min(tasks[task].questions or math.inf, assumed.of(assumed.QUESTIONS, task))
        for task in tasks
        if task in (planned.model.tasks or tasks)
    }
    works = [
        (number, question(planned, task, lang))
        for task, number in numbers.items()
        for lang in langs
        if lang in planned.study.benchmark_languages(task)
    ]
    tokens, forward = (sum(number * work[part] for number, work in works) for part in (0, 1))
    jobs = len(chunks(list(numbers), planned.study.compute.tasks_per_job)) * planned.language_jobs(langs)
    return Cost("benchmark", jobs, planned.weights(), tokens, forward)


def question(planned: PlannedModel, task: str, lang: str) -> tuple[float, float]:
    """Tokens and FLOPs of a question: its prompt, as long as its shots make it, and its choices."""
    ratio = planned.settings.tokens_per_english_token(lang)
    choice = assumed.of(assumed.CHOICE_TOKENS, task) * (1 if task == "mmlu" else ratio)
    example, shots = assumed.of(assumed.EXAMPLE_TOKENS, task) * ratio, planned.study.benchmarks.tasks[task].shots
    prompt = 1 + shots * (example + choice) + example
    if isinstance(planned.model, ToyModel):
        prompt = min(prompt, planned.model.architecture.context)
    return scored(planned.decoder, prompt, [choice] * assumed.CHOICES)


# Paper B


def data_set(study: Study, task: str, *, toy: bool = False) -> tuple[int, int, int]:
    """How many questions of a data set are asked, and the tokens in English of a prompt and of a choice."""
    settings = study.latent.tasks[task]
    of = "toy" if toy and settings.data == "hellaswag" else settings.data
    number, prompt, choice, letters = assumed.DATA_SETS[of]
    return min(settings.questions or number, number), prompt - letters * (settings.prompt == "cloze"), choice


def _latent_costs(planned: PlannedModel) -> Iterator[Cost]:
    """Questions under the lens of every layer, and steered, by data set; a prompt runs once for all its answers."""
    study, decoder, weights = planned.study, planned.decoder, planned.weights()
    probed, steered = len(study.probed_layers(planned.name)), study.steered_layers(planned.name)
    states = 4.0 * study.latent.held_out * len(study.state_layers(planned.name)) * decoder.d_model
    for task, settings in study.latent.tasks.items():
        number, prompt, choice = data_set(study, task, toy=isinstance(planned.model, ToyModel))
        languages = study.latent_languages(task)
        foreign = [lang for lang in languages if lang != study.languages.reference]
        ratios = {lang: planned.settings.tokens_per_english_token(lang) for lang in languages}
        native = {lang: [choice * ratio] * assumed.CHOICES for lang, ratio in ratios.items()}
        english = {lang: [float(choice)] * assumed.CHOICES * (lang in foreign) for lang in languages}
        works = [scored(decoder, prompt * ratios[lang], native[lang] + english[lang], probed) for lang in languages]
        tokens, forward = (number * sum(work[part] for work in works) for part in (0, 1))
        disk = len(languages) * (number * probed * assumed.SCORE_ROW + states)
        yield Cost("latent_score", planned.language_jobs(languages), weights, tokens, forward, disk=disk)
        if (steering := study.latent.steering) is None:
            continue
        variants = (1 + steering.random + steering.other + steering.shared) * len(steering.gammas)
        sweeps = [("steer", rest := number - study.latent.held_out, steered, variants)]
        if steering.directions:  # after a layer that is not known before: the middle one
            tried = min(rest, steering.directions_questions or rest)
            sweeps.append(("steer_random", tried, [middle(steered)], steering.directions))
        ranked = native if settings.prompt == "cloze" else dict.fromkeys(foreign, [1.0] * assumed.CHOICES)
        for stage, asked, after, ways in sweeps:
            works = [swept(decoder, prompt * ratios[lang], ranked[lang], after, ways) for lang in foreign]
            tokens, forward = (asked * sum(work[part] for work in works) for part in (0, 1))
            disk = len(foreign) * asked * ways * len(after) * assumed.STEERED_ROW
            yield Cost(stage, planned.language_jobs(foreign), weights, tokens, forward, disk=disk)


# Paper C


def _bilingual_costs(planned: PlannedModel) -> Iterator[Cost]:
    """SAEs of every checkpoint, their features, the injection; TopK's decoder touches K rows a token."""
    study, model, decoder, layers = planned.study, planned.model, planned.decoder, planned.model.layer_list
    settings, recipe, weights, (kind, features) = study.bilingual, model.sae, planned.weights(), planned.sae
    if recipe is not None:
        kind, features = "topk", recipe.features
    n_checkpoints, length = len(model.checkpoint_list), settings.tokens_per_document
    blocks = chunks(layers, settings.layers_per_job)
    jobs, n_saes, described = n_checkpoints * len(blocks), n_checkpoints * len(layers), settings.evaluation_tokens

    def forward(depth: int, tokens: float) -> float:
        return flops.forward(decoder, depth, tokens * length / (length - 1), tokens * length)

    def every_checkpoint(tokens: float) -> float:
        return n_checkpoints * forward(sum(block[-1] + 1 for block in blocks), tokens)

    def encoder(tokens: float) -> float:
        return flops.sae_columns(kind, decoder.d_model, features, features, tokens)

    if recipe is not None:
        read, depth = recipe.tokens + recipe.held_out_tokens, middle(layers) + 1
        training = flops.sae_training(decoder.d_model, features, recipe.k, recipe.tokens, recipe.held_out_tokens)
        forwards, disk = every_checkpoint(read), n_saes * flops.sae_bytes(decoder.d_model, features)
        yield Cost("train_checkpoint_saes", jobs, weights, jobs * read, forwards, n_saes * training, disk)
        if rates := len(settings.learning_rates):
            yield Cost("search_learning_rate", 1, weights, read, forward(depth, read), rates * training)
        if n := len(settings.sae_seeds):
            yield Cost("train_seed_saes", n, weights, n * read, n * forward(depth, read), n * training)
            yield Cost("describe_seed_features", n, weights, (d := n * described), forward(depth, d), encoder(d))
    else:
        measured = min(described, assumed.MEASURED_TOKENS)
        work = 2 * n_saes * encoder(measured)
        yield Cost("measure_saes", jobs, weights, jobs * measured, every_checkpoint(measured), work)
    forwards, sae = every_checkpoint(described), n_saes * encoder(described)
    disk = 2.0 * n_saes * features * assumed.FEATURE_ROW
    yield Cost("describe_features", jobs, weights, jobs * described, forwards, sae, disk)
    if (intervention := settings.intervention) is not None and study.injects(planned.name):
        below = study.intervention_place(planned.name)[1] + 1
        tokens = len(study.bilingual_languages) * intervention.documents * (length - 1)
        kinds = intervention.classes or (*study.bilingual_languages, "mixed", "random", "matched")
        variants = 1 + len(kinds) * len(intervention.alphas) * len(intervention.n_features) * intervention.repeats
        above = forward(decoder.layers - below, tokens) + flops.head(decoder, tokens)
        work = 2 * forward(below, tokens) + variants * above
        yield Cost("intervene", 1, 2 * weights, variants * tokens, work, encoder(tokens))
