"""What paper B's rules compute and leave on disk: questions under the lens of every layer, steering."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from isogloss.config import Study
from isogloss.config.latent import LatentTaskName
from isogloss.config.toy import ToyModel
from isogloss.plan import flops
from isogloss.plan.assumptions import CHOICES, Settings
from isogloss.plan.flops import Decoder, Work, scored
from isogloss.plan.planned_model import Cost, PlannedModel

SCORE_ROW = 220  # bytes of a question and probed layer in the table of scores
STEERED_ROW = 40  # bytes of a question and configuration
QUESTION_ROW = 600  # bytes of a question in the table of parallel questions, of one language


class DataSet(NamedTuple):
    """A data set as it is upstream; lengths in tokens of English."""

    questions: int
    prompt: int  # with its lettered choices
    choice: int
    lettered: int  # of the prompt: instruction and lettered choices, which a cloze lacks


DATA_SETS = {
    "belebele": DataSet(900, 190, 6, 55),
    "mmmlu": DataSet(14_042, 130, 9, 65),
    "hellaswag": DataSet(9_200, 210, 30, 150),
    "toy": DataSet(184, 14, 4, 0),
}


def data_set(study: Study, task: LatentTaskName, *, toy: bool = False) -> DataSet:
    """How many questions of a data set are asked, and how long they are."""
    settings, upstream = study.latent.tasks[task], DATA_SETS["toy" if toy else task]
    prompt = upstream.prompt - (upstream.lettered if settings.prompt == "cloze" else 0)
    return upstream._replace(questions=min(settings.questions or upstream.questions, upstream.questions), prompt=prompt)


def shared_latent_costs(study: Study, settings: Settings) -> Iterator[Cost]:
    """What is fetched and lined up once for all models."""
    kinds = {model.kind for model in study.models.values() if "latent" in model.analyses}
    if not kinds:
        return
    rows = sum(data_set(study, task).questions * len(study.latent_languages(task)) for task in study.latent.tasks)
    n, size = len(study.latent.tasks), float(QUESTION_ROW * rows)
    if "pretrained" in kinds:
        seconds = 2 * size / (1e6 * settings.download_mb_per_second)
        sources = n + ("mmmlu" in study.latent.tasks)
        yield Cost("fetch_parallel_questions", sources, "local", disk=2 * size, seconds=seconds)
    yield Cost("parallel_questions", n * len(kinds), "cpu", disk=size * len(kinds))


def swept(decoder: Decoder, prompt: float, choices: Sequence[float], layers: Sequence[int], variants: int) -> Work:
    """A prompt, then `variants` of its last token with its choices after each of `layers`, from that layer on."""
    nodes = 1 + sum(length - 1 for length in choices)
    parts = [(decoder.layers, nodes), *((decoder.layers - 1 - layer, variants * nodes) for layer in layers)]
    forward = flops.forward(decoder, decoder.layers, prompt - 1, (prompt - 1) ** 2)
    forward += sum(flops.forward(decoder, depth, rows, rows * (prompt - 1 + rows)) for depth, rows in parts)
    total = sum(rows for _, rows in parts)
    return Work(prompt - 1 + total, forward + flops.head(decoder, total))


def latent_costs(planned: PlannedModel) -> Iterator[Cost]:
    """The rules `latent_score` and `steer` for one model, by data set; a prompt runs once for all its answers."""
    study, decoder, steering = planned.study, planned.decoder, planned.study.latent.steering
    probed, steered = len(study.probed_layers(planned.name)), study.steered_layers(planned.name)
    states = 4.0 * study.latent.held_out * len(study.state_layers(planned.name)) * decoder.d_model
    for task, settings in study.latent.tasks.items():
        each, languages = data_set(study, task, toy=isinstance(planned.model, ToyModel)), study.latent_languages(task)
        foreign = [lang for lang in languages if lang != planned.reference]
        ratios = {lang: planned.settings.tokens_per_reference_token(lang, "en") for lang in languages}
        native = {lang: [each.choice * ratio] * CHOICES for lang, ratio in ratios.items()}
        work = []
        for lang in languages:
            choices = native[lang] + [float(each.choice)] * CHOICES * (lang in foreign)
            work.append(scored(decoder, each.prompt * ratios[lang], choices, probed))
        size = each.questions * probed * SCORE_ROW + states
        yield _cost(planned, "latent_score", languages, each.questions, work, size)
        if steering is None:
            continue
        variants = (1 + steering.random + steering.other + steering.shared) * len(steering.gammas)
        work = []
        for lang in foreign:
            ranked = native[lang] if settings.prompt == "cloze" else [1.0] * CHOICES
            work.append(swept(decoder, each.prompt * ratios[lang], ranked, steered, variants))
        rest = each.questions - study.latent.held_out
        yield _cost(planned, "steer", foreign, rest, work, rest * variants * len(steered) * STEERED_ROW)


def _cost(planned: PlannedModel, rule: str, langs: list[str], questions: int, work: list[Work], size: float) -> Cost:
    """A rule's cost over languages; `work` is of one question and `size` the bytes of the tables of one language."""
    tokens, forward = (questions * sum(getattr(each, field) for each in work) for field in Work._fields)
    jobs = planned.language_jobs(langs)
    return Cost(rule, jobs, "gpu", planned.weights(), tokens, forward, disk=len(langs) * size)
