"""The one order of languages in figures, charts and tables: by script, then family, the reference's ahead."""

from collections import Counter
from collections.abc import Iterable

from isogloss.languages import in_order, language


def by_script(codes: Iterable[str], reference: str = "") -> list[str]:
    """The languages by script, then family, larger ones first, then the language table's order.

    The reference comes first, where there is one, and so do its family and its script.
    """
    present = in_order(set(codes))
    scripts = Counter(language(code).script for code in present)
    families = Counter((language(code).script, language(code).family) for code in present)
    order = list(scripts)
    first = language(reference) if reference in present else None

    def key(code: str) -> tuple[bool, int, int, bool, int, str, bool]:
        script, family = language(code).script, language(code).family
        ahead = first is not None and script == first.script
        near = ahead and first is not None and family == first.family
        size = families[script, family]
        return not ahead, -scripts[script], order.index(script), not near, -size, family, code != reference

    return sorted(present, key=key)
