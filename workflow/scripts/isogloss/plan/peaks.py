"""What memory the jobs of each rule hold at their peak, from shapes alone: weights, SAEs, activations, buffers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from isogloss.config.bilingual import Intervention
from isogloss.config.measures import AlignmentRun
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import assumptions as assumed
from isogloss.plan import sizes
from isogloss.plan.exploration import explored_features
from isogloss.plan.flops import sae_bytes
from isogloss.plan.planned_model import PlannedModel, chunks
from isogloss.plan.sizes import BYTES, encoder_bytes, encoding_numbers

_WINDOW = 28.0  # bytes of a window while documents are searched: its activation, document, first and last segment


@dataclass(frozen=True)
class JobMemory:
    """Bytes that a job of a rule holds at its peak."""

    rule: str
    model: str
    layers: int  # whose SAEs it holds
    weights: float
    saes: float  # what is held of them; in training their optimiser, too
    batch: float  # activations of a forward batch, those that a backward pass needs included
    buffers: float  # vectors that are shuffled, and what encodings are made of
    files: float  # of weights and one SAE, as they are read
    collected: float = 0.0  # in the host's memory, on whichever device the model runs

    @property
    def device(self) -> float:
        """On the GPU, or beside what Python takes on cores."""
        return self.weights + self.saes + self.batch + self.buffers

    @property
    def host(self) -> float:
        """Of the process beside a GPU."""
        return assumed.CUDA_PROCESS + self.files + self.collected

    @property
    def cores(self) -> float:
        """Of the process without a GPU; weights that are read in their own type lie in the file's pages."""
        return assumed.PROCESS + self.device + self.collected


def peaks(planned: PlannedModel) -> Iterator[JobMemory]:
    """The jobs of a model that run it, or several of them, the largest of each rule."""
    model, study, layers = planned.model, planned.study, planned.model.layer_list
    analyses, block = model.analyses, chunks(layers, study.compute.layers_per_job)[-1]
    if model.reads_phrases and isinstance(model, PretrainedModel):
        if model.saes is None and model.sae is not None:
            yield _training(planned, "train_sae", len(layers), layers[-1] + 1)
        if model.neuronpedia is None:
            yield _searching(planned, layers)
        elif study.phrases.check.records:
            yield _reproducing(planned, block)
    if "similarity" in analyses:
        yield _reading(planned, "capture", layers[-1] + 1)
    if "gap" in analyses:
        yield _encoding(planned, block)
        yield _sampled(planned, "codes", block, study.reciprocal.feature_stride or study.phrases.feature_stride)
        yield from [_exploring(planned)] * (study.explorer.features > 0)
    for run in planned.runs:
        yield _aligning(planned, run)
    if "benchmarks" in analyses:
        yield _reading(planned, "benchmark", buffers=sizes.LENS_TILES)
    if "latent" in analyses:
        yield _reading(planned, "latent_score", buffers=sizes.LENS_TILES)
        if (steering := study.latent.steering) is not None:
            rules = ["steer", *(["steer_random"] * (steering.directions > 0))]
            yield from (_reading(planned, rule, buffers=sizes.LENS_TILES) for rule in rules)
    if "bilingual" in analyses:
        yield from _bilingual(planned)
    if "causal" in analyses:
        yield _ablating(planned)


def _reading(
    planned: PlannedModel,
    rule: str,
    depth: int | None = None,
    n_saes: int = 0,
    columns: float | None = None,
    buffers: float = 0.0,
    sae: tuple[str, int] | None = None,
) -> JobMemory:
    """A job that runs batches down to `depth` (None: the whole model, with its head) past `n_saes` encoders.

    These are of a kind and width (`sae`; None: paper A's), and of kinds with thresholds only `columns` of them are held
    (None: all).
    """
    dtype, decoder, (kind, width) = planned.study.compute.dtype, planned.decoder, sae or planned.sae
    weights, files = decoder.parameters(depth) * BYTES[dtype], planned.weights(depth)
    whole = encoder_bytes(decoder.d_model, width)
    held = whole if kind == "topk" else encoder_bytes(decoder.d_model, width, columns)
    batch = sizes.batch_bytes(decoder, planned.study.compute.token_budget, dtype)
    read = max(files, weights) + whole * (n_saes > 0)
    return JobMemory(rule, planned.name, n_saes, weights, n_saes * held, batch, buffers, read)


def _longest(planned: PlannedModel) -> float:
    """Tokens of the longest phrase, as the language with the most of them has it."""
    return max(planned.phrase_tokens(lang) + 1 for lang in planned.study.languages.all)


def _encoding(planned: PlannedModel, block: Sequence[int]) -> JobMemory:
    """Own, shuffled and random features: of a dictionary those sampled, and others as often as phrases draw them."""
    kind, width = planned.sae
    own = math.ceil(width / planned.study.phrases.feature_stride)
    columns = own + (width - own) * (1 - math.exp(-planned.phrases / width))
    numbers = encoding_numbers(width, _longest(planned), planned.study.compute.token_budget)
    copied = sizes.COPIED[planned.study.compute.dtype] * sizes.WIDE
    buffers = sizes.OWN_TOPK * numbers if kind == "topk" else copied
    return _reading(planned, "encode", block[-1] + 1, len(block), columns, buffers)


def _sampled(
    planned: PlannedModel, rule: str, layers: Sequence[int], stride: int, positions: float | None = None
) -> JobMemory:
    """Every `stride`-th feature of texts of so many tokens; the columns are gathered once more for each batch."""
    kind, width = planned.sae
    columns, tokens = math.ceil(width / stride), planned.study.compute.token_budget
    held = width if kind == "topk" else columns
    numbers = encoding_numbers(held, positions or _longest(planned), tokens)
    if kind == "topk":
        part = columns / width
        buffers = max(sizes.PRE_ACTIVATIONS + 4 * part, sizes.DENSE * part) * numbers
    else:
        buffers = sizes.DENSE * numbers + 4.0 * planned.decoder.d_model * columns
    return _reading(planned, rule, layers[-1] + 1, len(layers), columns, buffers)


def _searching(planned: PlannedModel, layers: Sequence[int]) -> JobMemory:
    """Documents by the group, a window of each for every feature; the strongest windows of each so far."""
    phrases = planned.study.phrases
    job = _sampled(planned, "phrases", layers, phrases.feature_stride, assumed.DOCUMENT_TOKENS)
    columns = len(layers) * math.ceil(planned.sae[1] / phrases.feature_stride)
    group = min(512.0, max(16.0, 2.0**24 / columns))
    return replace(job, collected=_WINDOW * columns * (group + phrases.per_feature))


def _reproducing(planned: PlannedModel, block: Sequence[int]) -> JobMemory:
    """A feature at a time, on a record of an export: TopK in the whole width."""
    records, (kind, width) = planned.study.phrases.check.records, planned.sae
    buffers = sizes.PRE_ACTIVATIONS * assumed.DOCUMENT_TOKENS * width * (kind == "topk")
    return _reading(planned, "reproduce", block[-1] + 1, len(block), records, buffers)


def _exploring(planned: PlannedModel) -> JobMemory:
    """Texts of the features that are shown, as many as the whole width would allow of any kind."""
    (kind, width), layers = planned.sae, planned.study.explorer.shown(planned.model.layer_list)
    shown = explored_features(planned)
    numbers = encoding_numbers(width, _longest(planned), planned.study.compute.token_budget)
    part = shown / width
    wide = sizes.DENSE * part if kind != "topk" else max(sizes.PRE_ACTIVATIONS + 4 * part, sizes.DENSE * part)
    return _reading(planned, "explore", layers[-1] + 1, len(layers), shown, wide * numbers)


def _aligning(planned: PlannedModel, run: AlignmentRun) -> JobMemory:
    study, decoder, (kind, width) = planned.study, planned.decoder, planned.sae
    longest, settings, depth = 2 * _longest(planned), study.alignment, run.target_layer + 1
    tokens = min(study.compute.token_budget, settings.batch_size * longest)
    batch = sizes.backward_bytes(decoder, depth, tokens, study.compute.dtype)
    columns = min(settings.samples, math.ceil(width / study.phrases.feature_stride))
    buffers = sizes.pairs_bytes(kind, width, tokens)
    return replace(_reading(planned, "align", depth, 1, columns, buffers), batch=batch)


def _ablating(planned: PlannedModel) -> JobMemory:
    """The whole encoder, to count firings; then the losses of each set of features, whose decoder rows are held."""
    study, decoder, settings = planned.study, planned.decoder, planned.study.causal
    (_, width), tokens, langs = planned.sae, study.compute.token_budget, len(study.languages.all)
    every = min(width, settings.n_features * langs * len(settings.methods) * (1 + settings.repeats))
    counted = sizes.DENSE * encoding_numbers(width, 1, tokens)
    fired = 4.0 * (2 * tokens * every + decoder.d_model * (every + 2 * tokens)) + sizes.LOSSES
    job = _reading(planned, "ablate", None, 1, buffers=max(counted, fired))
    return replace(job, files=job.files + 4.0 * decoder.d_model * width, collected=3 * 8.0 * langs * width)


# Paper C


def _bilingual(planned: PlannedModel) -> Iterator[JobMemory]:
    study, settings, recipe = planned.study, planned.study.bilingual, planned.model.sae
    layers = planned.model.layer_list
    block = chunks(layers, settings.layers_per_job)[-1]
    seeds = len(settings.sae_seeds) > 0
    if recipe is not None:
        yield _training(planned, "train_checkpoint_saes", len(block), block[-1] + 1)
        yield from [_searching_rate(planned, layers[-1] + 1)] * (len(settings.learning_rates) > 0)
        yield from [_training(planned, "train_seed_saes", 1, layers[-1] + 1)] * seeds
    else:
        yield _measuring(planned, block)
    yield _describing(planned, "describe_features", block)
    yield from [_describing(planned, "describe_seed_features", layers[-1:])] * seeds
    if (intervention := settings.intervention) is not None and study.injects(planned.name):
        yield _intervening(planned, intervention)


def _own_saes(planned: PlannedModel) -> tuple[str, int]:
    """Kind and width of paper C's SAEs; other kinds than TopK are saved as JumpReLU."""
    if (recipe := planned.model.sae) is None:
        return planned.sae
    return "topk" if recipe.kind == "topk" else "jumprelu", recipe.features


def _training(planned: PlannedModel, rule: str, n_layers: int, depth: int, rates: int = 1) -> JobMemory:
    """SAEs with Adam's moments and one's gradient; what is shuffled, a group of documents, a batch in float32.

    When they are trained they are measured, with Adam's moments still there.
    """
    recipe, decoder = planned.model.sae, planned.decoder
    assert recipe is not None
    group, dtype = 4 * recipe.batch_tokens, planned.study.compute.dtype
    trained = sizes.training_bytes(
        decoder.d_model, recipe.features, n_layers, recipe.batch_tokens, recipe.buffer_tokens, dtype, recipe.kind
    )
    sae = sae_bytes(decoder.d_model, recipe.features)
    measured = sizes.meter_bytes(recipe.kind, recipe.features, group)
    measured += n_layers * decoder.d_model * group * BYTES[dtype]
    buffers = max(trained.vectors + trained.step, measured)
    job = _reading(planned, rule, depth, n_layers, buffers=buffers, sae=(recipe.kind, recipe.features))
    return replace(job, saes=(3.0 * n_layers * rates + 1) * sae)


def _searching_rate(planned: PlannedModel, depth: int) -> JobMemory:
    """An SAE of one layer at each rate."""
    return _training(planned, "search_learning_rate", 1, depth, len(planned.study.bilingual.learning_rates))


def _measuring(planned: PlannedModel, block: Sequence[int]) -> JobMemory:
    """Whole SAEs, decoders too, as SAELens loads them."""
    decoder, (kind, width) = planned.decoder, _own_saes(planned)
    group = max(64.0, 2.0**26 / width) + assumed.DOCUMENT_TOKENS
    vectors = len(block) * group * decoder.d_model * BYTES[planned.study.compute.dtype]
    job = _reading(planned, "measure_saes", block[-1] + 1, len(block), sae=(kind, width))
    return replace(
        job,
        saes=float(len(block) * sae_bytes(decoder.d_model, width)),
        buffers=sizes.meter_bytes(kind, width, group) + vectors,
        files=job.files + 4.0 * decoder.d_model * width,
    )


def _describing(planned: PlannedModel, rule: str, block: Sequence[int]) -> JobMemory:
    """Whole encoders; the input embeddings, by whose cosines tokens are clustered, lie in the host's memory."""
    decoder, (kind, width) = planned.decoder, _own_saes(planned)
    numbers = encoding_numbers(width, 1, planned.study.compute.token_budget)
    wide = sizes.PRE_ACTIVATIONS if kind == "topk" else sizes.PATTERNS
    langs = len(planned.study.bilingual_languages)
    buffers = wide * numbers + 16.0 * width * langs
    job = _reading(planned, rule, block[-1] + 1, len(block), buffers=buffers, sae=(kind, width))
    return replace(job, collected=4.0 * decoder.d_model * decoder.vocabulary)


def _intervening(planned: PlannedModel, settings: Intervention) -> JobMemory:
    """Two models, the finished one down to the layer, and its SAE; with translations also their caches."""
    study, decoder, (kind, width) = planned.study, planned.decoder, _own_saes(planned)
    depth, tokens = study.intervention_place(planned.name)[1] + 1, study.compute.token_budget
    number = BYTES[study.compute.dtype]
    wide = (sizes.PRE_ACTIVATIONS if kind == "topk" else sizes.DENSE) * encoding_numbers(width, 1, tokens)
    sums = 4.0 * decoder.d_model * 3 * tokens  # of what is added, in float32
    cache = 2.0 * decoder.key_value_heads * decoder.d_head * tokens * number
    caches = (decoder.layers + 2 * depth) * cache if settings.translations is not None else 0.0
    buffers = max(wide, sums + sizes.LOSSES) + caches
    job = _reading(planned, "intervene", None, 1, buffers=buffers, sae=(kind, width))
    return replace(
        job,
        weights=number * (decoder.parameters() + decoder.parameters(depth)),
        saes=float(sae_bytes(decoder.d_model, width)),
    )
