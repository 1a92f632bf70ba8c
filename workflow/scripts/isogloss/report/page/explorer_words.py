"""What a reader is told of a feature's translations: what can be counted, and no cause that cannot."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from isogloss.languages import language
from isogloss.report.shared.wording import name, number

_FEWEST = 4  # translations, before they are split at the median of their lengths


class Version(NamedTuple):
    """A translation of a phrase beside the phrase: how much of the activation is kept, and where."""

    lang: str
    kept: float | None  # strongest activation as a share of the phrase's; None where the phrase does not fire
    tokens: float  # as a multiple of the phrase's
    fires: bool
    copied: bool  # whether the strongest token stands in the phrase, too: a name, a number, a mark

    @classmethod
    def of(cls, home: Mapping[str, Any], row: Mapping[str, Any], joined: Callable[..., Any]) -> "Version":
        """From the rows of the table `explorer` of a phrase and of a translation."""
        there = {_word(token) for token in joined(home["tokens"], home["activations"]).tokens} - {""}
        own = joined(row["tokens"], row["activations"])
        first, peak = max(home["activations"], default=0.0), max(own.activations, default=0.0)
        strongest = own.tokens[own.activations.index(peak)] if own.tokens else ""
        kept = peak / first if first > 0 else None
        return cls(row["lang"], kept, row["n_tokens"] / home["n_tokens"], peak > 0, _word(strongest) in there)


def _word(token: str) -> str:
    """A token to compare: without white space, case and the forms in which Unicode writes the same."""
    return unicodedata.normalize("NFKC", token).strip().casefold()


def version_words(version: Version, home: str) -> str:
    """One line under a translation."""
    parts = [f"{number(version.tokens, 1)} × the tokens"]
    if not version.fires:
        return _kept_together(f"{parts[0]}; does not fire")
    if version.kept is not None:
        parts.append(f"{number(100 * version.kept, 0)} % of the activation in {name(home)}")
    where = "also stands" if version.copied else "is not"
    parts.append(f"the strongest token {where} in the {name(home)} text")
    return _kept_together("; ".join(parts))


def _kept_together(text: str) -> str:
    """No line breaks before a unit."""
    return text.replace(" %", "\u00a0%").replace(" ×", "\u00a0×")


def kept_by(means: Mapping[str, float | None], versions: Sequence[Version], reference: str) -> list[str]:
    """Sentences on a feature: what is kept by script, by number of tokens, and on tokens that both texts have."""
    sentences = (_by_script(means, reference), _by_tokens(versions), _copied(versions))
    return [_kept_together(sentence) for sentence in sentences if sentence]


def _by_script(means: Mapping[str, float | None], reference: str) -> str:
    home = means.get(reference)
    if not home:
        return ""
    same: list[float] = []
    other: list[float] = []
    for code, mean in means.items():
        if code != reference and mean is not None:
            (same if language(code).script == language(reference).script else other).append(mean / home)
    if not same or not other:
        return ""
    parts = [
        f"{number(100 * sum(part) / len(part), 0)} % in {len(part)} language{'s' * (len(part) > 1)} {of}"
        for part, of in ((same, f"of the script of {name(reference)}"), (other, "of other scripts"))
    ]
    return f"Script: of the mean activation in {name(reference)}, {parts[0]} and {parts[1]}."


def _by_tokens(versions: Sequence[Version]) -> str:
    known = [version for version in versions if version.kept is not None]
    if len(known) < _FEWEST:
        return ""
    half = median(version.tokens for version in known)
    fewer = [version.kept for version in known if version.tokens <= half]
    more = [version.kept for version in known if version.tokens > half]
    if not more:
        return ""
    shares = [number(100 * sum(part) / len(part), 0) for part in (fewer, more)]  # type: ignore[arg-type]
    return (
        f"Tokens: translations with up to {number(half, 1)} × the tokens keep {shares[0]} % of the activation (n ="
        f" {len(fewer)}), longer ones {shares[1]} % (n = {len(more)})."
    )


def _copied(versions: Sequence[Version]) -> str:
    firing = [version for version in versions if version.fires]
    if not firing:
        return f"No translation shown fires it (n = {len(versions)})." if versions else ""
    copied = sum(version.copied for version in firing)
    return (
        f"Same spelling: of {len(firing)} translation{'s' * (len(firing) > 1)} that fire{'s' * (len(firing) == 1)} it,"
        f" {copied} {'has' if copied == 1 else 'have'} the strongest token in the phrase itself, too (a name, a number,"
        " a mark)."
    )
