"""What the figures of what the study stands on show, each in one sentence."""

from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.trained import realised_shares
from isogloss.report.shared.wording import name, number
from isogloss.report.takeaways.brief import counted, of_how_many, sentence


def training(tables: Tables, context: Context) -> Takeaway:
    """From where to where the loss fell, and how far shares of the tokens are from those configured."""
    frame = tables["training"].sort("step")
    configured, realised = context.settings["models"][context.model]["shares"], realised_shares(frame)
    farthest = max(configured, key=lambda code: abs(realised[code] - configured[code]))
    apart = number(100 * abs(realised[farthest] - configured[farthest]), 1)
    text = (
        f"the loss falls from {number(frame['loss'][0], 1)} to {number(frame['loss'][-1], 1)} nats a token; each"
        f" language's share of the tokens lies within {apart} points of the configured one (farthest: {name(farthest)})"
    )
    tokens = counted(int(frame["tokens"][-1]), "token")
    return Takeaway(sentence(text), of_how_many([tokens, counted(len(configured), "language")]))


def sae_quality(tables: Tables, _: Context) -> Takeaway:
    """How much the SAEs leave unexplained and how many of their features are dead, over layers."""
    frame = tables["sae_quality"]
    known = frame["fvu"].drop_nulls()
    n = of_how_many([counted(frame.height, "SAE"), counted(int(frame["features"].sum()), "feature")])
    dead = int(frame["dead_features"].sum())
    of_all = f"{dead:,} of {int(frame['features'].sum()):,} features are dead"
    if known.is_empty():
        return Takeaway(sentence(of_all), n)
    low, high = (number(100 * value, 0) for value in (known.min(), known.max()))  # pyright: ignore
    span = f"{low} %" if low == high else f"{low} to {high} %"
    return Takeaway(sentence(f"the SAEs leave {span} of the variance unexplained; {of_all}"), n)
