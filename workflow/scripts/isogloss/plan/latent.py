"""What paper B's rules compute and leave on disk: questions under the lens of every layer, steering."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from isogloss.config import Study
from isogloss.config.toy import ToyModel
from isogloss.plan import flops
from isogloss.plan.flops import Decoder
from isogloss.plan.settings import Settings
from isogloss.plan.stages import Cost
from isogloss.plan.subject import Subject

SCORE_ROW = 220  # bytes of a question and probed layer in the table of scores
STEERED_ROW = 40  # bytes of a question and configuration
QUESTION_ROW = 600  # bytes of a question in the table of parallel questions, of one language
CHOICES = 4


class Asked(NamedTuple):
    """A data set as it is upstream; lengths in tokens of English."""

    questions: int
    prompt: int  # with its lettered choices
    choice: int
    lettered: int  # of the prompt: instruction and lettered choices, which a cloze lacks


TASKS: dict[str, Asked] = {
    "belebele": Asked(900, 190, 6, 55),
    "mmmlu": Asked(14_042, 130, 9, 65),
    "hellaswag": Asked(9_200, 210, 30, 150),
    "toy": Asked(184, 14, 4, 0),
}


def asked_of(study: Study, task: str, *, toy: bool = False) -> Asked:
    """How many questions of a data set are asked, and how long they are."""
    told, upstream = study.latent.tasks[task], TASKS["toy" if toy else task]  # type: ignore[index]
    prompt = upstream.prompt - (upstream.lettered if told.prompt == "cloze" else 0)
    return upstream._replace(questions=min(told.questions or upstream.questions, upstream.questions), prompt=prompt)


def shared_latent_costs(study: Study, settings: Settings) -> Iterator[Cost]:
    """What is fetched and lined up once for all models."""
    asking = {model.kind for model in study.models.values() if "latent" in model.analyses}
    if not asking:
        return
    rows = {task: asked_of(study, task).questions * len(study.latent_languages(task)) for task in study.latent.tasks}
    size = float(QUESTION_ROW * sum(rows.values()))
    if "pretrained" in asking:
        sources = len(rows) + ("mmmlu" in rows)
        seconds = 2 * size / (1e6 * settings.download_mb_per_second)
        yield Cost("fetch_parallel_questions", "", sources, "local", disk=2 * size, seconds=seconds)
    yield Cost("parallel_questions", "", len(rows) * len(asking), "cpu", disk=size * len(asking))


class Work(NamedTuple):
    """What one question costs."""

    tokens: float
    forward: float  # FLOPs


def scored(decoder: Decoder, prompt: float, choices: Sequence[float], probed: int) -> Work:
    """A prompt and its choices, of so many tokens each, as one sequence, read by the lens at `probed` layers.

    The last token of a choice is only predicted; beginnings that choices share are counted for each.
    """
    nodes = sum(length - 1 for length in choices)
    forward = flops.forward(decoder, decoder.layers, prompt + nodes, (prompt + nodes) ** 2)
    return Work(prompt + nodes, forward + probed * flops.head(decoder, 1 + nodes))


def swept(decoder: Decoder, prompt: float, choices: Sequence[float], layers: Sequence[int], variants: int) -> Work:
    """A prompt, then `variants` of its last token with its choices after each of `layers`, from that layer on."""
    nodes = 1 + sum(length - 1 for length in choices)
    depths = [decoder.layers, *(decoder.layers - 1 - layer for layer in layers)]
    rows = [nodes, *[variants * nodes for _ in layers]]
    forward = flops.forward(decoder, decoder.layers, prompt - 1, (prompt - 1) ** 2)
    forward += sum(
        flops.forward(decoder, depth, row, row * (prompt - 1 + row)) for depth, row in zip(depths, rows, strict=True)
    )
    return Work(prompt - 1 + sum(rows), forward + flops.head(decoder, sum(rows)))


def latent_costs(subject: Subject) -> Iterator[Cost]:
    """The rules `latent_score` and `steer` for one model; a prompt runs once for all that is asked of it."""
    study, decoder, name = subject.study, subject.decoder, subject.name
    kept, steered = study.state_layers(name), study.steered_layers(name)
    weights = decoder.parameters() * subject.weight_bytes
    steering = study.latent.steering
    totals = {rule: [0, 0.0, 0.0, 0.0] for rule in ("latent_score", "steer")}  # jobs, tokens, FLOPs, bytes

    def add(rule: str, questions: float, work: Work, disk: float) -> None:
        for place, amount in enumerate((questions * work.tokens, questions * work.forward, disk), start=1):
            totals[rule][place] += amount

    for task, told in study.latent.tasks.items():
        each = asked_of(study, task, toy=isinstance(subject.model, ToyModel))
        probed = len(study.probed_layers(name))
        disk = each.questions * probed * SCORE_ROW + 4.0 * study.latent.held_out * len(kept) * decoder.d_model
        languages = study.latent_languages(task)
        totals["latent_score"][0] += subject.language_jobs(languages)
        if steering:
            totals["steer"][0] += subject.language_jobs([lang for lang in languages if lang != subject.reference])
        for lang in languages:
            ratio = subject.settings.tokens_per_reference_token(lang, "en")
            foreign = lang != study.languages.reference
            native = [each.choice * ratio] * CHOICES
            every = native + [float(each.choice)] * CHOICES * foreign
            prompt = each.prompt * ratio
            add("latent_score", each.questions, scored(decoder, prompt, every, probed), disk)
            if steering is None or not foreign:
                continue
            variants = (1 + steering.random + steering.other + steering.shared) * len(steering.gammas)
            rest = each.questions - study.latent.held_out
            ranked = native if told.prompt == "cloze" else [1.0] * CHOICES
            size = float(rest * variants * len(steered) * STEERED_ROW)
            add("steer", rest, swept(decoder, prompt, ranked, steered, variants), size)
    for rule, (jobs, tokens, forward, disk) in totals.items():
        if jobs:
            yield Cost(rule, name, int(jobs), "gpu", weights, subject.dtype, tokens, forward, 0.0, disk)
