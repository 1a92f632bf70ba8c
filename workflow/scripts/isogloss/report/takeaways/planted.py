"""What the figures of the planted truth show, each in a sentence."""

import polars as pl

from isogloss.joined.measures import MEASURES, PAPERS_GAP
from isogloss.joined.planted_truth import ONE_SEED
from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.within import worlds
from isogloss.report.shared.wording import listed, number
from isogloss.report.takeaways.brief import of_how_many, ranged

_JUDGED = {measure.name: measure.title for measure in MEASURES if measure.judged}


def planted_truth(tables: Tables, _: Context) -> Takeaway:
    """How many measures find what was planted and nothing elsewhere, and whether the papers' gap does."""
    truth = tables["comparison/planted_truth"].filter(pl.col("layer").is_null())
    rows = [row for row in truth.iter_rows(named=True) if row["measure"] in _JUDGED]
    n = of_how_many([ranged(truth["n_languages"], "language"), ranged(truth["n_seeds"], "seed")])
    if not rows:
        return Takeaway("No internal measure was taken in a model with planted shares and in its control.", n)
    papers = {row["measure"]: row for row in rows}.get(PAPERS_GAP)
    if all(row["n_seeds"] == 1 for row in rows):
        following = [row for row in rows if row["reason"] == ONE_SEED]
        gap = "" if papers is None else f" the papers' gap {'among them' if papers in following else 'not'};"
        return Takeaway(
            f"{len(following) or 'None'} of {len(rows)} measures follow{'s' if len(following) < 2 else ''} the planted"
            f" shares,{gap} one seed cannot show what they find where none were planted.",
            n,
        )
    passing = [_JUDGED[row["measure"]].lower() for row in rows if row["verdict"] == "passes"]
    named = f" ({listed(passing)})" if 0 < len(passing) <= 3 else ""
    said = {"passes": "passes", "fails": "fails"}
    gap = "" if papers is None else f"; the papers' gap {said.get(papers['verdict'], 'cannot be judged')}"
    return Takeaway(
        f"{len(passing) or 'None'} of {len(rows)} measures find{'s' if len(passing) < 2 else ''} the planted shares and"
        f" nothing where none were planted{named}{gap}.",
        n,
    )


def planted_truth_languages(tables: Tables, context: Context) -> Takeaway:
    """The same verdicts, of the points by language."""
    return planted_truth(tables, context)


def gap_accuracy_worlds(tables: Tables, context: Context) -> Takeaway:
    """Whether gap and accuracy go together where shares were planted, and where all were equal."""
    ours = worlds(tables["comparison/planted_truth_points"], context.confidence)
    defined = [one for one in ours if one.correlation.r is not None]
    planted, equal = ([one.correlation for one in defined if one.planted is kind] for kind in (True, False))
    n = ranged(pl.Series([one.points.height for one in ours], dtype=pl.Int64), "language")
    if not planted or not equal:
        return Takeaway("Gap and accuracy cannot be correlated in both worlds.", n)
    below = [sum(r.high is not None and r.high < 0 for r in kind) for kind in (planted, equal)]
    if len(planted) == len(equal) == 1:
        verdict = {
            (1, 1): "so the shares do not explain it",
            (1, 0): "shown only where planted",
            (0, 1): "shown only where equal",
            (0, 0): "shown in neither",
        }[below[0], below[1]]
        return Takeaway(
            f"Larger gap, lower accuracy: r = {number(planted[0].r, 2)} where shares were planted and"
            f" {number(equal[0].r, 2)} where all are equal, {verdict}.",
            n,
        )
    means = [number(sum(r.r or 0.0 for r in kind) / len(kind), 2) for kind in (planted, equal)]
    return Takeaway(
        f"A larger gap goes with lower accuracy in {below[0] or 'none'} of {len(planted)} models with planted shares"
        f" (mean r {means[0]}) and in {below[1] or 'none'} of {len(equal)} with equal ones ({means[1]}).",
        n,
    )
