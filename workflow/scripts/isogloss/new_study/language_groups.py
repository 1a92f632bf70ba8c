"""The two groups of languages that paper A compares."""

from collections.abc import Sequence
from typing import NamedTuple

from isogloss.errors import IsoglossError
from isogloss.languages import language

# No list that isogloss reads has resource levels. Paper A's five (app. A.2.3) and others with much text on the Web.
HIGH_RESOURCE = ("en", "zh", "es", "fr", "de", "ru", "ja", "pt", "it")


class LanguageGroups(NamedTuple):
    """Languages of a study; without `low` there is nothing to compare."""

    reference: str
    high: list[str]  # the reference first
    low: list[str]

    @property
    def codes(self) -> list[str]:
        """Every language, the reference first."""
        return [*self.high, *self.low]

    @property
    def last(self) -> str:
        """The language that is aligned, and compared feature by feature: the last of the lower group, else of all."""
        return self.codes[-1]

    @property
    def keys(self) -> dict[str, object]:
        """The section `languages` of a study."""
        if self.low:
            return {"reference": self.reference, "high_resource": self.high, "medium_low_resource": self.low}
        return {"reference": self.reference, "others": self.high[1:]}


def language_groups(given: Sequence[str]) -> LanguageGroups:
    """The languages in groups; the reference is English if that is among them, else the first.

    Raises `IsoglossError` for fewer than two, one that comes twice, and one that is unknown or spelt otherwise.
    """
    for code in given:
        try:
            language(code)
        except ValueError as error:
            raise IsoglossError(f"LANGUAGES: {error}") from None
    if doubled := sorted({code for code in given if given.count(code) > 1}):
        raise IsoglossError(f"LANGUAGES: {', '.join(doubled)} named twice; name each once")
    if len(given) < 2:
        raise IsoglossError(f'LANGUAGES: {" ".join(given) or "none"}; give two or more, LANGUAGES="en es hi" say')
    reference = "en" if "en" in given else given[0]
    others = [code for code in given if code != reference]
    high = [code for code in others if code.split("-")[0] in HIGH_RESOURCE]
    return LanguageGroups(reference, [reference, *high], [code for code in others if code not in high])
