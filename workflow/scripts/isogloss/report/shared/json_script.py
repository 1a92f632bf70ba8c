"""JSON within HTML."""

import json
from typing import Any

from markupsafe import Markup

# What could end a script or begin a comment within it, and the two line ends that old browsers read in strings.
_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def json_script(value: Any) -> Markup:
    """A value as JSON in an element that a script of the page reads: no text in it can end the element.

    Raises:
        ValueError: for a number that is not finite, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    return Markup(f'<script type="application/json">{text}</script>')
