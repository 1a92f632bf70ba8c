"""What the figures of SAEs and phrases show, each in a sentence."""

from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number
from isogloss.report.takeaways.brief import counted, of_how_many, ranged


def sae_quality(tables: Tables, _: Context) -> Takeaway:
    """What the SAEs leave unexplained, and how many features are dead."""
    frame = tables["sae_quality"].sort("fvu")
    n = of_how_many([counted(frame.height, "layer"), f"{ranged(frame['features'], 'feature')} each",
                     ranged(frame["n_tokens"], "token")])  # fmt: skip
    dead, features = int(frame["dead_features"].sum()), int(frame["features"].sum())
    low, high = (number(100 * frame["fvu"][at], 0) for at in (0, -1))
    left = low if low == high else f"{low} to {high}"
    return Takeaway(
        f"The SAEs leave {left} % of the variance unexplained; {f'{dead:,} of {features:,}' if dead else 'no'}"
        f" {'features are' if dead else 'feature is'} dead.",
        n,
    )
