"""HTML of the landing page: its style, safe text, paragraphs, lists and pictures."""

import textwrap
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

# The report gives its text a narrow column beside the rule graph and centres it vertically, which cuts off the top
# of a long page; the first rules undo that for this page alone. Tailwind strips lists and headings: set here again.
STYLE = """
div:has(> div > div > .isogloss), div:has(> div > div > div > .isogloss) {flex-wrap: wrap; align-items: flex-start}
.h-screen:has(.isogloss) {align-items: flex-start}
.prose:has(.isogloss) {max-width: 860px}
.isogloss {color: #1f2937; font-size: 15px; line-height: 1.55; padding: 8px 12px 24px}
.isogloss h1 {font-size: 26px; font-weight: 700; line-height: 1.2; margin: 0 0 4px; color: #111827}
.isogloss h2 {font-size: 18px; font-weight: 650; margin: 28px 0 6px; color: #111827; border-bottom: 1px solid #d1d5db}
.isogloss h3 {font-size: 15px; font-weight: 650; margin: 16px 0 2px; color: #111827}
.isogloss p {margin: 6px 0}
.isogloss .lede {font-size: 16px; color: #4b5563}
.isogloss ul {list-style: disc; margin: 4px 0 8px; padding-left: 20px}
.isogloss li {margin: 3px 0; padding: 0}
.isogloss img {width: 100%; margin: 10px 0; background: #fff}
.isogloss table {border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: auto}
.isogloss th {text-align: right; font-weight: 600; padding: 3px 10px; border-bottom: 2px solid #374151}
.isogloss td {text-align: right; padding: 2px 10px; border-bottom: 1px solid #e5e7eb}
.isogloss th:first-child, .isogloss td:first-child {text-align: left; padding-left: 0}
.isogloss code {font-size: 13px; background: #f3f4f6; padding: 1px 4px; border-radius: 3px}
"""


def as_rst(html: str) -> str:
    """`html` as one raw directive of reStructuredText."""
    return ".. raw:: html\n\n" + textwrap.indent(html, "   ", lambda _: True) + "\n"


def safe(text: object) -> str:
    """Text of the data or the config for HTML that jinja2 reads first: no tag, no brace, no break before a unit."""
    return escape(" ".join(str(text).split()).replace(" %", "\u00a0%")).replace("{", "&#123;").replace("}", "&#125;")


def paragraph(text: str, kind: str = "text") -> str:
    """A paragraph of a CSS class."""
    return f'<p class="{kind}">{safe(text)}</p>'


def bullets(items: Sequence[str]) -> str:
    """A list of the sentences that are not empty."""
    return "<ul>\n" + "\n".join(f"<li>{safe(item)}</li>" for item in items if item) + "\n</ul>"


def picture(pictures: Mapping[str, bytes], stem: str, alternative: str) -> str:
    """A picture within the page; nothing where there is none."""
    if stem not in pictures:
        return ""
    # docutils refuses lines of more than 10,000 characters; browsers ignore line breaks in a data URI.
    image = "\n".join(textwrap.wrap(b64encode(pictures[stem]).decode(), 8000))
    return f'<img alt="{safe(alternative)}" src="data:image/svg+xml;base64,\n{image}">'
