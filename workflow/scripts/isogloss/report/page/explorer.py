"""The feature explorer of the page: data for explorer.js, and the first features for readers without scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from markupsafe import escape

from isogloss.report.figures.style import colour
from isogloss.report.page.explorer_data import Group, Texts, groups, languages
from isogloss.report.shared.context import Context
from isogloss.report.shared.json_script import json_script
from isogloss.report.shared.wording import listed, name, number

Tables = Mapping[str, Mapping[str, pl.DataFrame]]

_LISTS = {
    "largest_gap": "Largest gap",
    "smallest_gap": "Smallest gap",
    "one_language": "One language",
    "monosemantic": "One concept",
}
_STATIC = ("largest_gap", "smallest_gap", "one_language")  # a feature of each is shown without scripts
_INTRO = """
<p>A <dfn>feature</dfn> is one unit of a sparse autoencoder (SAE), a network that takes a model's inner state apart. It
<dfn>fires</dfn> on a token where it is above zero. Each text below is shown as the model reads it, token by token: the
stronger its colour, the more a token fires the feature; the strongest token of a text is underlined. Point at a token,
or move over a text with the arrow keys, to read the number.</p>
<details><summary>How the features were chosen, and what the columns mean</summary>
<ul>
<li><b>Gap</b>: how much weaker the feature's phrases fire it in the mean of all other languages than in {home}, in
percent. The lists of largest and smallest gaps are the extremes of many features: part of what sets them apart is
chance. Features that fire in fewer than ten texts come last.</li>
<li><b>Class</b>: the language with more than half of the feature's firings in the same texts of every language, or
"several"; <b>share</b>: the largest share that one language has. The list "One language" takes the languages
in turn.</li>
<li><b>Concept</b>: how far the feature's tokens mean one thing, less what chance gives (excess of monosemanticity,
paper C).</li>
<li><b>Phrases</b> are the {home} texts that fire the feature most, with their translations. A feature without phrases
shows the texts that fire it most in any language.</li>
<li>Languages differ in script, in tokens and in meaning at once: the lines below a text say what can be counted, they
prove no cause.</li>
</ul></details>
"""


def explorer_section(tables: Tables, settings: Mapping[str, Any]) -> str:
    """HTML below the page's heading: explanation, the first features, and all of them as JSON for explorer.js.

    `tables` are those of each model by name, `explorer` and `explorer_features` among them; where no model has them it
    is a sentence on why.
    """
    known = [model for model in settings["models"] if {"explorer", "explorer_features"} <= set(tables.get(model, {}))]
    filled = [model for model in known if tables[model]["explorer_features"].height]
    if not filled:
        return f'<p class="nothing">{escape(_why_none(known, settings))}</p>'
    context = Context(filled[0], settings)
    home = context.reference
    models: list[dict[str, Any]] = []
    static = ""
    codes: set[str] = set()
    for model in filled:
        spans, features = tables[model]["explorer"], tables[model]["explorer_features"]
        texts = Texts()
        of_model = groups(spans, features, home, texts)
        codes |= {*features["lang"], *spans["lang"]}
        title = context.title(model)
        static = static or _static(of_model, texts, title, context)
        shown = [group._asdict() for group in of_model]
        models.append({"name": model, "title": title, "texts": texts.tokens, "groups": shown})
    order = [*[home][: home in codes], *(code for code in context.by_group(codes) if code != home)]
    order += sorted(codes - {*order})
    data = {
        "reference": home,
        "confidence": context.confidence,
        "lists": _LISTS,
        "languages": languages(order, context, {code: colour(code, context) for code in order}),
        "models": models,
    }
    without = [context.title(model) for model in settings["models"] if model not in filled]
    have = "which has" if len(without) == 1 else "which have"
    absent = f'<p class="note">Not shown: {escape(listed(without))}, {have} no features with phrases.</p>'
    return (
        f'{_INTRO.format(home=escape(name(home)))}<div class="js-explorer explorer-box" data-nosearch>'
        f"{json_script(data)}"
        f'<div class="explorer-static">{static}</div></div>{absent if without else ""}'
    )


def _why_none(known: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Why there is no feature to explore."""
    if not settings["explorer"]["features"]:
        return "No features to explore: the study asks for none (explorer.features: 0)."
    if not any("gap" in model["analyses"] for model in settings["models"].values()):
        return "No features to explore: no model of this study has the analysis gap, which measures an SAE's features."
    if not known:
        return "No features to explore: this study was run before features were kept for it."
    return "No features to explore: no feature of the SAEs has a phrase that fires it."


def _static(of_model: Sequence[Group], texts: Texts, title: str, context: Context) -> str:
    """The first feature of each list, with its first phrase in every language."""
    chosen: dict[tuple[int, str, int], tuple[Group, dict[str, Any], str]] = {}
    for list_name in _STATIC:
        for group in of_model:
            features = [feature for feature in group.features if list_name in feature.get("l", ()) and feature.get("p")]
            if features:
                key = (group.layer, group.sae, features[0]["f"])
                chosen.setdefault(key, (group, features[0], list_name))
                break
    parts = [
        f"<section><h3>{escape(title)}, layer {group.layer}: feature {feature['f']} ({_LISTS[of].lower()})</h3>"
        f"{_facts(feature)}{_phrase(feature, texts, context)}</section>"
        for group, feature, of in chosen.values()
    ]
    more = sum(len(group.features) for group in of_model) - len(parts)
    return f"{''.join(parts)}<p class='note'>{more} more features are shown with scripts switched on.</p>"


def _facts(feature: Mapping[str, Any]) -> str:
    gap = f"Gap {number(feature['g'], 1)} %. " if "g" in feature else ""
    return f"<p>{gap}{' '.join(str(escape(sentence)) for sentence in feature.get('say', ()))}</p>"


def _phrase(feature: Mapping[str, Any], texts: Texts, context: Context) -> str:
    """The first phrase of a feature in every language, and the mean activation there."""
    phrase, cards = feature["p"][0], ""
    ordered = [context.reference, *(code for code in context.languages if code != context.reference)]
    for code in (code for code in ordered if code in phrase["v"] or code in phrase["w"]):
        mean = feature["b"].get(code, [None])[0]
        text = text_html(phrase["v"][code], texts.tokens, code, feature["mx"]) if code in phrase["v"] else ""
        words = phrase["w"].get(code, "the phrase")
        cards += (
            f'<div class="explorer-card"><h4>{escape(name(code))}<span class="note">'
            f"mean activation {_four(mean)}</span></h4>{text}"
            f'<p class="note">{escape(words)}</p></div>'
        )
    return f'<div class="explorer-cards">{cards}</div>'


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


def text_html(span: Sequence[Any], texts: Sequence[Sequence[str]], code: str, largest: float) -> str:
    """A text with its tokens shaded, as explorer.js builds it: no space between tokens, so that letters stay joined."""
    of: int = span[0]
    before, after, fired = span[1], span[2], span[4]
    values: dict[int, float] = dict(zip(fired[::2], fired[1::2], strict=True))
    strongest = max(values.values(), default=0.0)
    parts = []
    for at, token in enumerate(texts[of]):
        value = values.get(at, 0.0)
        if value <= 0 or not largest:
            parts.append(str(escape(token)))
            continue
        kind = "explorer-token strongest" if value == strongest else "explorer-token"
        shade = f"--heat: {min(1.0, value / largest):.2f}"
        word = token.lstrip() or token  # space before a word stays unshaded: a line may break there
        parts.append(
            f"{token[: len(token) - len(word)]}"
            f'<span class="{kind}" style="{shade}" title="{_four(value)}">{escape(word)}</span>'
        )
    dots = ["… " * (before > 0), " …" * (after > 0)]
    return f'<p class="explorer-text" lang="{escape(code)}" dir="auto">{dots[0]}{"".join(parts)}{dots[1]}</p>'
