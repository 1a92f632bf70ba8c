"""Safe text for the pages: HTML within reStructuredText, pictures within either."""

import re
import textwrap
from urllib.parse import quote

_SVG_SAFE = " !$()*+,-./:;<=>?@[]^_`{|}~'"  # what neither a data URI nor an attribute in double quotes must escape


def as_rst(html: str) -> str:
    """`html` as one raw directive of reStructuredText."""
    return ".. raw:: html\n\n" + textwrap.indent(html, "   ", lambda _: True) + "\n"


def without_braces(html: str) -> str:
    """`html` for Snakemake, which renders it with Jinja2 once more: no brace of the data may reach that.

    A style that it begins with is ours and stays: browsers read no entity in it.
    """
    style, end, body = html.rpartition("</style>")
    return style + end + body.replace("{", "&#123;").replace("}", "&#125;")


def tidy(text: object) -> str:
    """Text without line breaks, and without a break before a unit."""
    return " ".join(str(text).split()).replace(" %", "\u00a0%")


def svg_uri(svg: bytes) -> str:
    """A picture as a data URI for an attribute in double quotes: shorter than base64 and just as inert."""
    text = re.sub(r"^.*?(?=<svg)", "", svg.decode(), count=1, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    return "data:image/svg+xml," + quote(re.sub(r">\s+<", "><", text).strip(), safe=_SVG_SAFE)


def headless(svg: bytes) -> bytes:
    """A picture without the lines that `figures.draw.headed` put above its axes, and without their room."""
    heights = re.findall(rb'id="header-([0-9.]+)"', svg)
    size = re.search(rb'width="([0-9.]+)pt" height="([0-9.]+)pt" viewBox="0 0 [^"]+"', svg[:2000])
    if not heights or not size:
        return svg
    width, top = float(size[1]), float(heights[0])
    height = float(size[2]) - top
    box = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 {top:g} {width:g} {height:g}"'.encode()
    return re.sub(rb'<g id="header-.*?</g>', b"", svg.replace(size[0], box, 1), flags=re.DOTALL)


def svg_size(svg: bytes) -> tuple[int, int]:
    """Width and height of a picture in whole units of its view box; 0, 0 where it names none."""
    found = re.search(rb'viewBox="\S+ \S+ (\S+) ([^\s"]+)"', svg[:2000])
    return (round(float(found[1])), round(float(found[2]))) if found else (0, 0)


def slug(text: str) -> str:
    """A heading as an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
