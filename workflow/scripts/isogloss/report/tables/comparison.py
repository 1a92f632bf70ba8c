"""The HTML table that compares models: verdicts on the measures."""

from isogloss.joined.measures import MEASURES
from isogloss.report.tables.sheet import Column, bounded, decimals, sheet, text, whole

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
