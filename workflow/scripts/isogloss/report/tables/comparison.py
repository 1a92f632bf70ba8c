"""The HTML tables that compare models: verdicts on the measures, what models do, and their features by size."""

from isogloss.joined.measures import MEASURES
from isogloss.report.shared.wording import SIZE_TITLES, number
from isogloss.report.tables.sheet import (
    LANGUAGES,
    QUESTIONS,
    SHARE,
    TASK,
    Column,
    P,
    bounded,
    decimals,
    sheet,
    text,
    whole,
)

_FINE = decimals(3)

PLANTED_TRUTH = sheet(
    text("measure", "measure", {measure.name: f"{measure.title} ({measure.unit})" for measure in MEASURES}),
    Column("layer", "best layer; a dash: mean over layers", str),
    text("verdict", "verdict"),
    Column("expected", "expected slope", lambda sign: "rises" if sign > 0 else "falls", numeric=False),
    bounded("slope", "slope on the log of the share ratio", _FINE, "ci"),
    bounded("null_slope", "slope where nothing was planted", _FINE, "null_ci"),
    Column("rho", "Spearman's ρ with the share, language taken out", decimals(2)),
    whole("n", "points"), whole("n_languages", "languages"), whole("n_seeds", "seeds"),
    whole("n_undefined", "resamples left out"), text("reason", "reason"),
    note="Slopes are of the model with planted shares minus the same model with equal shares, over languages other than"
    " the reference and over seeds. A measure passes if its interval excludes zero on the expected side and the one of"
    " two models with equal shares includes it.",
)  # fmt: skip
_PARAMETERS = Column("n_parameters", "parameters (millions)", lambda count: number(count / 1e6, 1))
_R = {"accuracy_r": "accuracy", "consistency_r": "consistency", "positive_transfer_r": "positive transfer"}

MODELS = sheet(
    text("model", "model"), _PARAMETERS,
    text("analysis", "questions", {"latent": "parallel (paper B)", "benchmarks": "benchmark (paper A)"}), TASK,
    bounded("accuracy", "accuracy (%), mean over languages", SHARE),
    Column("accuracy_chance", "accuracy by chance (%)", SHARE),
    Column("accuracy_sd", "standard deviation of accuracy over languages (points)", SHARE),
    bounded("consistency", "consistency (ρ)", decimals(2)),
    Column("consistency_chance", "consistency by chance (ρ)", decimals(2)),
    bounded("positive_transfer", "positive transfer (%)", SHARE),
    Column("positive_transfer_chance", "positive transfer by chance (%)", SHARE),
    bounded("negative_transfer", "negative transfer (%)", SHARE),
    Column("negative_transfer_chance", "negative transfer by chance (%)", SHARE),
    *(bounded(name, f"r of the log ratio with {what}", decimals(2)) for name, what in _R.items()),
    Column("accuracy_common", "accuracy in the languages of all models (%)", SHARE),
    whole("n_common", "languages of all models"),
    LANGUAGES, QUESTIONS, text("interval", "intervals over"), text("reason", "why some are missing"),
    note="Paper B, Tables 1 and 2, over models. Chance of consistency and transfer is what languages with these"
    " accuracies and habits reach if they have nothing to do with one another.",
)  # fmt: skip
SIZES = sheet(
    text("measure", "measure", SIZE_TITLES), text("model", "model"), _PARAMETERS, whole("step", "step"),
    Column("layer", "layer", str), text("class", "features"),
    bounded("value", "value", _FINE), whole("n_features", "features counted"), text("reason", "why there is none"),
    note="Paper C: features of the last checkpoint at the middle one of the analysed layers (0-based). Shares are of"
    " the features that are not silent, span length is in tokens.",
    rows=lambda frame: frame.sort("measure", "n_parameters", maintain_order=True),
)  # fmt: skip
SIZE_REGRESSION = sheet(
    text("measure", "measure", SIZE_TITLES),
    text("analysis", "questions", {"latent": "parallel (paper B)", "benchmarks": "benchmark (paper A)"}), TASK,
    bounded("slope", "slope on the natural log of the number of parameters", _FINE, "ci"), P,
    whole("n_models", "models"), whole("n_sizes", "sizes"), text("reason", "why there is none"),
    note="Least squares over models, Student's interval. Shares are not in percent here.",
)  # fmt: skip
