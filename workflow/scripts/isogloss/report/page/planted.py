"""The landing page's section on what was planted in toy models, and what was measured of it."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.planted import contrast, equal_shares, planted, verdicts
from isogloss.report.page.markup import bullets, paragraph, picture, safe
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number

FEW = 3
"""Up to so many models, accuracy and gap of each stand beside its shares; of more, the verdicts say it all."""


def planted_section(
    tables: Mapping[str, Tables], compared: Tables, pictures: Mapping[str, bytes], settings: Mapping[str, Any]
) -> list[str]:
    """The section as HTML; nothing where no model was trained here. `tables` are by model, `compared` of all."""
    world, english = settings["world"], name(settings["languages"]["reference"])
    toys = {model: frames for model, frames in tables.items() if settings["models"][model]["kind"] == "toy"}
    if not toys:
        return []
    judged: list[str] = []
    if "planted_truth" in compared:
        headline, confidence = settings["report"]["headline"], settings["statistics"]["confidence"]
        judged = [bullets(verdicts(compared["planted_truth"], headline, confidence))]
    return [
        "<h2>What was planted, and what was measured</h2>",
        *judged,
        paragraph(
            "Each language model and its SAEs were trained here on the shares of languages below; the tokenizer was"
            f" trained on all languages alike. {_bilingual(world)}In every model alike,"
            f" {100 * world['english_only']:g} % of the facts are told in {english} only and"
            f" {100 * world['untaught']:g} % in no language; phrases come from facts told in all languages."
        ),
        _shares_table(toys, settings),
        bullets(_sentences(toys, settings)) if len(toys) <= FEW or not judged else "",
        picture(pictures, "planted_truth", "What each measure finds of the planted shares"),
    ]


def _bilingual(world: Mapping[str, Any]) -> str:
    if not world["bilingual"]:
        return ""
    return (
        f"{100 * world['bilingual']:g} % of a model's tokens are documents that tell facts in two languages by turns,"
        f" with {100 * world['switched']:g} % of the subjects' names left in the other language: without them it would"
        " not share features across languages. "
    )


def _sentences(toys: Mapping[str, Tables], settings: Mapping[str, Any]) -> list[str]:
    """What accuracy and gap show of the shares, model by model; then each model's gap beside its control's."""
    confidence, reference = settings["statistics"]["confidence"], settings["languages"]["reference"]
    sentences: list[str] = []
    gaps: dict[str, tuple[str, pl.DataFrame]] = {}
    for model, tables in toys.items():
        title, shares = settings["models"][model]["title"], settings["models"][model]["shares"]
        gap = {f"mean gap to {name(reference)}": _mean_gap(tables, reference)}
        measured = {"mean accuracy": _mean_accuracy(tables)} | gap
        sentences += [planted(title, shares, values, what, confidence) for what, values in measured.items() if values]
        if "group_gap" in tables:
            gaps[model] = (title, tables["group_gap"])
            if len({round(share, 9) for share in shares.values()}) == 1:
                sentences += equal_shares(title, tables["group_gap"], reference)
    first = next(iter(gaps), "")
    controls = {model: settings["models"][model].get("control") for model in gaps}
    pairs = [(model, control) for model, control in controls.items() if control in gaps]
    pairs = pairs or [(first, other) for other in gaps if other != first]
    return sentences + [contrast(*gaps[model], *gaps[other], reference) for model, other in pairs]


def _shares_table(toys: Mapping[str, Tables], settings: Mapping[str, Any]) -> str:
    reference = settings["languages"]["reference"]
    codes = Context("", settings).languages
    head, columns = ["language"], []
    for model, tables in toys.items():
        title, shares = settings["models"][model]["title"], settings["models"][model]["shares"]
        percent = {code: 100 * share for code, share in shares.items()}
        shown = {"share": percent}
        if len(toys) <= FEW:
            shown |= {"accuracy": _mean_accuracy(tables), "gap": _mean_gap(tables, reference)}
        head += [f"{title}: {label} (%)" for label, values in shown.items() if values]
        columns += [values for values in shown.values() if values]
    rows = "\n".join(
        f"<tr><td>{safe(name(code))}</td>{''.join(f'<td>{number(column.get(code))}</td>' for column in columns)}</tr>"
        for code in codes
    )
    titles = "".join(f"<th>{safe(cell)}</th>" for cell in head)
    note = f"Accuracy: mean over tasks. Gap: to {name(reference)}, mean over layers. Intervals stand in the figures"
    below = paragraph(f"{note} and tables.") if len(toys) <= FEW else ""
    return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>{rows}</tbody></table>{below}"


def _mean_accuracy(tables: Tables) -> dict[str, float]:
    """Mean over tasks by language, in percent; of paper B's answers where the benchmarks were not run."""
    if "accuracy" not in tables and "answers" not in tables:
        return {}
    base = tables["accuracy"].filter(adapter="base") if "accuracy" in tables else tables["answers"]
    return dict(base.group_by("lang", maintain_order=True).agg((100 * pl.col("accuracy")).mean()).iter_rows())


def _mean_gap(tables: Tables, reference: str) -> dict[str, float]:
    if "language_gap_summary" not in tables:
        return {}
    rows = tables["language_gap_summary"].filter(pl.col("lang") != reference).drop_nulls("mean_gap_pct")
    return dict(rows.select("lang", "mean_gap_pct").iter_rows())
