"""The findings' sentences: directions and verdicts are those of the tables."""

import polars as pl
import pytest

from finding_tables import CONFIG, CONTEXT, judged
from isogloss.report.findings import alignment, bilingual, disparity, similarity
from isogloss.report.findings.planted import equal_shares, planted, reconciled, verdicts
from isogloss.report.findings.reciprocal import reciprocal_gap
from isogloss.report.shared.context import Context
from isogloss.report.shared.teaching import transfers
from isogloss.report.shared.wording import number
from synthetic import make_tables
from synthetic_bilingual import bilingual_tables


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return make_tables(CONFIG, "skewed")


@pytest.mark.parametrize(
    ("gap", "verdict", "counted"),
    [
        (20.0, "activate the features less", "above zero in 4, below zero in 0"),
        (0.0, "the interval includes zero", "across zero in 4 of 4 layers"),
        (-20.0, "activate the features more", "below zero in 4"),
    ],
)
def test_direction_follows_the_data(gap, verdict, counted):
    sentences = disparity.group_gap(make_tables(CONFIG, "skewed", gap=gap), CONTEXT)
    assert verdict in sentences[1]
    assert verdict in sentences[2]
    assert all(counted in sentences[at] for at in (0, 3))


def test_sentences_on_both_choices_follow_the_intervals(tables):
    def sentences(**changed):
        summary = tables["reciprocal_gap_summary"].with_columns(**changed)
        return " ".join(
            reciprocal_gap({"reciprocal_gap_summary": summary, "reciprocal_gap": tables["reciprocal_gap"]}, CONTEXT)
        )

    hindi = pl.col("lang") == "hi"
    above = pl.when(hindi).then(0.5).otherwise("symmetric_gap_ci_low")
    assert "1 of 9 languages are weaker than English" in sentences(symmetric_gap_ci_low=above)
    assert "property of Spanish, Italian" in sentences(symmetric_gap_ci_low=above)
    assert "cannot be read" not in sentences(symmetric_gap_ci_low=pl.lit(0.5))
    below = pl.when(hindi).then(-1.0).otherwise("gap_from_lang_ci_low")
    assert "So in 8 of 9 languages the gap follows the one that chose" in sentences(gap_from_lang_ci_low=below)
    assert "So in no language does the gap follow" in sentences(gap_from_lang_ci_low=pl.lit(-1.0))
    none = pl.lit(None, pl.Float64)
    assert "what a perfect translation would lose is not known; a language" in sentences(ceiling_pct=none)
    assert "SAE codes" not in sentences(code_retrieval=none)
    assert "no more than another text does" not in sentences()
    translated = Context("skewed", CONFIG | {"translation": {"backend": "nllb"}})
    assert "among 1,000 (that English chose)" in " ".join(reciprocal_gap(tables, translated))
    at_floor = pl.when(hindi).then("gap_from_reference_pct").otherwise("floor_ci_low")
    assert "In Hindi a translation fires what English chose no more than another text does" in sentences(
        floor_ci_low=at_floor
    )
    assert sentences(symmetric_gap_pct=none).startswith("The gap cannot be chosen both ways")


def test_equal_shares_are_judged_without_the_reference_first():
    without, with_reference = equal_shares("Equal", make_tables(CONFIG, "equal", gap=15.0)["group_gap"], "en")
    assert "with English left out, has its interval above zero in 4, below zero in 0" in without
    assert "with English as high-resource" in with_reference
    assert "inflated by selection" in with_reference


@pytest.mark.parametrize(
    ("known", "verdict"),
    [(0.60, ": transfer is shown"), (0.20, "so transfer is not shown"), (0.02, "worse than facts never taught")],
)
def test_transfer_verdict_follows_the_interval_against_untaught_facts(known, verdict):
    rows = [
        {"adapter": "base", "task": "arc", "lang": lang, "taught": taught, "accuracy": a, "n": 60, "chance": 0.25}
        for lang in ("en", "es", "ml")
        for taught, a in (("all", 0.9), ("reference", 0.95 if lang == "en" else known), ("none", 0.20))
    ]
    (sentence,) = disparity.teaching({"accuracy_by_teaching": pl.DataFrame(rows)}, CONTEXT)
    assert verdict in sentence
    assert "the 2 other languages pooled" in sentence
    assert "25" not in sentence.split("points")[0].split("difference")[0]
    all_taught = pl.DataFrame([row for row in rows if row["taught"] != "none"])
    (unjudged,) = disparity.teaching({"accuracy_by_teaching": all_taught}, CONTEXT)
    assert "cannot be judged" in unjudged
    assert "transfer is" not in unjudged


def test_transfer_interval_is_newcombes_by_hand():
    """Newcombe (1998), method 10: Wilson's intervals of both shares, squared and added."""
    counts = {"reference": (30, 80), "none": (12, 60)}
    rows = [
        {"adapter": "base", "task": "arc", "lang": lang, "taught": taught, "accuracy": k / n, "n": n}
        for lang in ("es", "ml")
        for taught, (k, n) in counts.items()
    ]
    (transfer,) = transfers(pl.DataFrame(rows), "en", 0.95)
    z = 1.959963984540054

    def wilson(k: int, n: int) -> tuple[float, float]:
        p, centre = k / n, (k + z * z / 2) / (n + z * z)
        half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
        return centre - half, centre + half

    (low1, high1), (low2, high2) = wilson(30, 80), wilson(12, 60)
    difference = 30 / 80 - 12 / 60
    assert transfer.difference == pytest.approx(difference)
    assert transfer.low == pytest.approx(difference - ((30 / 80 - low1) ** 2 + (high2 - 12 / 60) ** 2) ** 0.5)
    assert transfer.high == pytest.approx(difference + ((high1 - 30 / 80) ** 2 + (12 / 60 - low2) ** 2) ** 0.5)


def test_verdicts_lead_with_the_headline_and_count_the_measures():
    wrong = {"verdict": "fails", "reason": "rises where it should fall"}
    truth = judged(
        language_gap_summary__mean_gap_pct=wrong,
        similarity__retrieval={},
        similarity__cosine={"verdict": "fails", "reason": "the interval of the slope includes zero"},
        similarity__centred={"verdict": "fails", "reason": "the interval of the slope includes zero"},
        language_gap__mean_activation={"verdict": None, "reason": "no interval where nothing was planted"},
        accuracy__accuracy={"verdict": None, "reason": "behaviour, not an internal measure: not judged"},
    )
    first, second, *others = verdicts(truth, "similarity.retrieval")
    assert first == (
        "The measure that leads this report is retrieval: it passes the planted-truth test."
        " Its slope on the log of the planted share is 0.20 [0.10, 0.30], 0.01 [−0.10, 0.10]"
        " where nothing was planted; its rank correlation with the share is 0.80, over 9 languages and 3 seeds."
    )
    assert second.startswith(
        "Of 5 internal measures 1 passes the planted-truth test: retrieval; the papers' gap does not (rises where it"
        " should fall)."
    )
    assert others == [
        "Fail (rises where it should fall): gap (paper A).",
        "Fail (the interval of the slope includes zero): cosine and centred cosine.",
        "Cannot be judged (no interval where nothing was planted): mean activation.",
    ]


def test_verdicts_where_the_headline_fails_is_not_judged_or_was_not_measured():
    fails = judged(similarity__retrieval={"verdict": "fails", "reason": "the interval of the slope includes zero"})
    text = " ".join(verdicts(fails, "similarity.retrieval"))
    assert "it fails the planted-truth test (the interval of the slope includes zero)" in text
    assert "Of 1 internal measures none passes the planted-truth test; the papers' gap was not measured" in text
    nothing = {"verdict": None, "reason": "no interval where nothing was planted"}
    nothing |= dict.fromkeys(("slope", "ci_low", "ci_high", "null_slope", "null_ci_low", "null_ci_high", "rho"))
    text = " ".join(verdicts(judged(language_gap_summary__mean_gap_pct=nothing), "similarity.retrieval"))
    assert "leads this report is retrieval, which was not measured in a model" in text
    assert "the papers’ gap cannot be judged (no interval where nothing was planted)" in text
    best = judged(similarity__retrieval={"layer": 2})
    assert "Retrieval at the layer that is best in the equal worlds, 2, passes." in verdicts(best, "similarity.cosine")


SHARES_OF_FIVE = {"en": 0.4, "zh": 0.2, "ru": 0.1, "es": 0.05, "it": 0.02}


@pytest.mark.parametrize(
    ("slope", "within", "expected"),
    [
        (-2.0, [30.0, 41.0, 28.0, 40.0, 31.0], "and yet shows no trend within Skewed is no contradiction"),
        (0.0, [20.0, 25.0, 30.0, 35.0, 40.0], "A trend within Skewed alone is not shown to come from the shares"),
        (0.0, [30.0, 41.0, 28.0, 40.0, 31.0], ""),  # nothing to reconcile
        (-2.0, [20.0, 25.0, 30.0, 35.0, 40.0], ""),
    ],
)
def test_a_gap_that_follows_the_shares_between_models_and_not_within_one_is_explained(slope, within, expected):
    row = {"slope": slope, "ci_low": slope - 1, "ci_high": slope + 1}
    truth = judged(language_gap_summary__mean_gap_pct=row)
    gaps = dict(zip(SHARES_OF_FIVE, within, strict=True))
    equal = {"zh": 33.4, "ru": 12.3, "es": 20.0}
    said = reconciled("Skewed", SHARES_OF_FIVE, gaps, "Equal", equal, truth, 0.95)
    assert len(said) == bool(expected)
    for text in said:
        assert expected in text
        assert "(Equal: from 12.3 % in Russian to 33.4 % in Chinese)" in text
        assert f"{number(slope)} points [{number(slope - 1)}, {number(slope + 1)}] for a share" in text
    assert reconciled("Skewed", SHARES_OF_FIVE, gaps, "Equal", {}, truth, 0.95) == []
    assert reconciled("Skewed", {"en": 1.0}, gaps, "Equal", equal, truth, 0.95) == []


@pytest.mark.parametrize(("slope", "trend"), [(1.0, "rises with"), (-1.0, "falls with"), (0.0, "shows no trend with")])
def test_trend_with_the_planted_shares(slope, trend):
    shares = {"en": 0.4, "zh": 0.2, "ru": 0.1, "es": 0.05, "it": 0.02}
    wiggle = [0.0, 0.6, -0.8, 0.5, -0.1]
    values = {code: slope * i + w for (i, code), w in zip(enumerate(reversed(shares)), wiggle, strict=True)}
    assert f"accuracy {trend} the planted share" in planted("Model", shares, values, "accuracy", 0.95)


@pytest.mark.parametrize(
    ("r", "low", "high", "verdict"),
    [(-0.9, -0.99, -0.5, "less accurate"), (0.9, 0.5, 0.99, "more accurate"), (0.1, -0.5, 0.6, "no relation is shown")],
)
def test_correlation_verdict(r, low, high, verdict):
    frame = pl.DataFrame(
        {"task": ["arc"], "r": [r], "ci_low": [low], "ci_high": [high], "p": [0.1], "p_adjusted": [0.01], "n": [9]}
        | {"p_permutation": [0.1], "spearman": [r], "spearman_p": [0.1], "n_orders": [10_001], "family_size": [3]}
    )
    assert verdict in disparity.correlation({"gap_accuracy_correlation": frame}, CONTEXT)[0]
    corrected = frame.with_columns(p_adjusted=pl.lit(0.08))
    reserved = disparity.correlation({"gap_accuracy_correlation": corrected}, CONTEXT)[0]
    assert ("does not outlast the correction over 3 tasks" in reserved) == (verdict != "no relation is shown")


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0, "so alignment carries over"), (-8.0, "carries over is not shown"), (-200.0, "so they fall")],
)
def test_what_held_out_features_show_follows_their_interval(tables, shift, verdict):
    gain = tables["alignment_gain"].with_columns(
        gain_held_out_pct=pl.lit(10.0 + shift),
        held_out_ci_low=pl.lit(3.0 + shift),
        held_out_ci_high=pl.lit(15.0 + shift),
    )
    single = alignment.alignment({"alignment_gain": gain}, CONTEXT)[-1]
    assert verdict in single


def test_benchmark_changes_count_after_correction(tables):
    changed = tables["accuracy"].with_columns(
        p_adjusted=pl.when((pl.col("task") == "arc") & (pl.col("adapter") != "base"))
        .then(0.01)
        .otherwise(pl.col("p_adjusted"))
    )
    first = disparity.accuracy_change({"accuracy": changed}, CONTEXT)[0]
    assert first.startswith("all-l2: of 30 accuracies compared with the base model's, 10 rose and 0 fell")


def course(shares: tuple[float, ...], half: float = 0.02) -> pl.DataFrame:
    """The table `selectivity` of one layer with these mixed shares by step; monosemanticity follows them."""
    rows = [
        {"step": 10**exponent, "layer": 3, "class": code}
        | {f"{column}{end}": share + sign * half for column in COLUMNS for end, sign in ENDS}
        | {"monosemanticity_null": 0.5, "monosemanticity_several": share, "random_pairs_above_similarity": 0.62}
        for exponent, share in enumerate(shares)
        for code in ("mixed", "all")
    ]
    return pl.DataFrame(rows)


COLUMNS = (
    *("share", "share_counted", "share_firings", "agreement"),
    *("monosemanticity", "monosemanticity_excess", "monosemanticity_calibrated_excess"),
)
ENDS = (("", 0), ("_low", -1), ("_high", 1))


@pytest.mark.parametrize(
    ("shares", "half", "verdict"),
    [
        (
            (0.6, 0.1, 0.3),
            0.02,
            "it fell, the intervals do not overlap. In between it is lowest with 10.0 % [8.0, 12.0]",
        ),
        ((0.2, 0.3, 0.5), 0.02, "it rose, the intervals do not overlap."),
        ((0.3, 0.32, 0.31), 0.02, "the intervals overlap, so no change is shown."),
        ((0.3,), 0.02, "the only one measured"),
    ],
)
def test_course_of_the_mixed_share_follows_its_intervals(shares, half, verdict):
    mixed, mono, published, counted = bilingual.selectivity({"selectivity": course(shares, half)}, CONTEXT)
    assert verdict in mixed
    assert f"in the middle layer (3) {'is' if len(shares) == 1 else 'goes from'} {100 * shares[0]:.1f} %" in mixed
    assert mono.startswith(
        "Monosemanticity (how far a feature has one meaning, 0 to 1) beyond chance, of all features,"
    )
    assert "above a similarity of 0.1, which 62.0 % of random pairs exceed" in published
    assert published.endswith("more than chance.")
    assert "with at least 10 counted activations," in counted
    assert "] are mixed; by all firings" in counted


def test_what_is_below_its_null_is_called_so_and_what_is_undefined_has_its_reason():
    frame = course((0.3,)).with_columns(pl.col("^monosemanticity_excess.*$") - 0.5)
    published = bilingual.selectivity({"selectivity": frame}, CONTEXT)[2]
    assert "a difference of −0.20 [−0.22, −0.18], less than chance." in published
    nothing = frame.with_columns(pl.lit(None, pl.Float64).alias("monosemanticity_excess"))
    nothing = nothing.with_columns(pl.lit(None, pl.Float64).alias("monosemanticity_calibrated_excess"))
    _, mono, *rest = bilingual.selectivity({"selectivity": nothing}, CONTEXT)
    assert mono.endswith("is not defined at any step: no feature has two tokens.")
    assert len(rest) == 1


def test_a_model_without_checkpoints_has_no_step():
    final = course((0.3,)).with_columns(step=pl.lit(0))
    mixed, *_ = bilingual.selectivity({"selectivity": final}, CONTEXT)
    assert "is 30.0 % [28.0, 32.0] in the finished model." in mixed


@pytest.mark.parametrize(
    ("shift", "verdict", "control"),
    [
        (0.0, "falls most with mixed features, −0.35 [−0.41, −0.29]; next English", "lower than with"),
        (
            0.32,
            "none lowers the perplexity of all documents by its interval; the lowest change is mixed",
            "no difference",
        ),
        (1.0, "none lowers", "higher than with"),
    ],
)
def test_injected_class_is_judged_by_its_interval_and_against_random_features(shift, verdict, control):
    columns = ["change", "ci_low", "ci_high"]
    beyond = ["beyond_random", "beyond_random_low", "beyond_random_high"]
    frame = bilingual_tables(("en", "es"), 2)["intervention_summary"].with_columns(
        pl.col(columns) + shift, pl.col(beyond) + shift * 1.45
    )
    sentence, matched = bilingual.intervention({"intervention_summary": frame}, CONTEXT)
    assert matched.endswith("over draws of features: mixed features help more.")
    assert verdict in sentence
    assert control in sentence.split("Against random features")[1]


def test_classes_are_not_told_apart_where_intervals_overlap_and_settings_are_counted():
    frame = bilingual_tables(("en", "es"), 2, alphas=(0.05, 0.1, 0.2), n_features=(1000, 3000))["intervention_summary"]
    first, _, counted = bilingual.intervention({"intervention_summary": frame}, CONTEXT)
    assert "(α = 0.1, N = 3,000)" in first
    assert ", told apart." in first
    assert "Of 6 settings of α and N, the perplexity is lower than with random features, by its interval" in counted
    close = frame.with_columns(pl.when(pl.col("class") == "es").then(-0.4).otherwise("change").alias("change"))
    wide = close.with_columns(ci_high=pl.col("change") + 0.3, ci_low=pl.col("change") - 0.3)
    assert "not told apart" in bilingual.intervention({"intervention_summary": wide}, CONTEXT)[0]


def test_undefined_values_are_named(tables):
    nothing = pl.lit(None, dtype=pl.Float64)
    empty = tables["group_gap"].with_columns(gap_pct=nothing, ci_low=nothing, ci_high=nothing)
    assert "No layer has a gap" in disparity.group_gap({"group_gap": empty}, CONTEXT)[0]
    gain = tables["alignment_gain"].with_columns(gain_pct=nothing)
    assert "no gain is defined" in alignment.alignment({"alignment_gain": gain}, CONTEXT)[0]
    assert number(-0.04) == "0.0"


@pytest.mark.parametrize("unrelated", [0.35, 0.97])
def test_similarity_says_what_the_plain_cosine_is_worth(tables, unrelated):
    frame = tables["similarity"].with_columns(cosine=0.98, cosine_shuffled=unrelated)
    text = " ".join(similarity.similarity({"similarity": frame}, CONTEXT))
    assert ("In 4 of 4 layers all residuals point one way" in text) == (unrelated == 0.97)
    assert "picks out its English text among 250; mean reciprocal rank by centred cosine" in text
    assert text.endswith("chance is 0.024.")
    undefined = frame.with_columns(retrieval=pl.lit(None, pl.Float64))
    assert "Retrieval is not defined" in similarity.similarity({"similarity": undefined}, CONTEXT)[-1]
