"""Colours and markers: one a language, one a script and one a model over the whole report, figures and charts alike.

A colour means one thing in a report. Up to thirteen languages have vivid ones of their own, and their scripts are told
by shape; of more, the colour tells the script and its shade the family. Models and all else that is no language are in
muted colours. Every colour has a contrast of at least 3 : 1 with white (WCAG 2.2, criterion 1.4.11), and none is the
only cue: a language also has a marker, a group of languages its own line.
"""

from collections import Counter, defaultdict
from functools import cache

from isogloss.languages import language
from isogloss.report.shared.context import Context

SHAPES = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "*", "h", "H")  # as matplotlib calls them
# Chosen to lie far apart in OKLab, also as readers see them who lack one kind of cone.
COLOURS = (
    "#000000", "#0072B2", "#3F97DB", "#009E73", "#557A00", "#B58700", "#7A4300",
    "#C765A8", "#D24A00", "#882255", "#8C6BE8", "#007A87", "#C2003A",
)  # fmt: skip
PALETTE = ("#3D5A80", "#B5654A", "#62876A", "#8D6A9F", "#94843F", "#5C5C5C")
"""Of what is neither language nor model: variants, controls, kinds of questions."""
MODELS = ("#5B3A29", "#A27A7A", "#2F5D50", "#7D8597", "#4B3F72", "#A37B50")
OTHER = "#767676"  # scripts of few languages, where colour tells the script

_PAIRS = tuple(zip(COLOURS, SHAPES, strict=True))
# Of the toy world and the papers: the same look in every study.
_OWN = dict(zip("en zh ru es it id ca mr ml hi ja".split(), _PAIRS, strict=False))  # noqa: SIM905
# None that a language has, so that it can be seen which of the two a colour tells.
_SCRIPT_COLOURS = ("#2A86CC", "#BC0E44", "#0B976F", "#CB5209", "#8765DF", "#AC820E", "#BF5FA1", "#5B7A10")
_SHADES = (1.0, 0.88, 0.76, 0.65, 0.55, 0.45, 0.35)  # of a script's colour, for its families
_RARE = "h"
MODEL_SHAPES = ("o", "s", "^", "D", "v", "P")


def colour(code: str, context: Context) -> str:
    """Hex colour of a language in every figure of a study."""
    return _look(code, context)[0]


def marker(code: str, context: Context) -> str:
    """Marker of a language in every figure of a study."""
    return _look(code, context)[1]


def _look(code: str, context: Context) -> tuple[str, str]:
    return language_looks(context.shown).get(code, (OTHER, _RARE))


@cache
def language_looks(codes: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each language of a study, no two the same."""
    if len(codes) > len(_PAIRS):
        return _by_family(codes)
    own = {code: _OWN[code] for code in codes if code in _OWN}
    free = iter(pair for pair in _PAIRS if pair not in own.values())
    return {code: own.get(code) or next(free) for code in codes}


def _by_family(codes: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Of many languages: the script's colour in the family's shade, and the next marker; the next shade if all are."""
    hues = script_colours(codes)
    numbers: dict[str, dict[str, int]] = defaultdict(dict)  # of the families of a colour
    looks: dict[tuple[str, str], str] = {}
    for code in codes:
        hue, families = hues[language(code).script], numbers[hues[language(code).script]]
        first = families.setdefault(language(code).family, len(families))
        shades = [_SHADES[(first + step) % len(_SHADES)] for step in range(len(_SHADES))]
        tried = [(_shade(hue, shade), shape) for shade in shades for shape in SHAPES]
        looks[next((look for look in tried if look not in looks), tried[0])] = code
    return {code: look for look, code in looks.items()}


def _shade(paint: str, factor: float) -> str:
    """A colour mixed with black."""
    return "#" + "".join(f"{round(factor * int(paint[at : at + 2], 16)):02X}" for at in (1, 3, 5))


@cache
def script_colours(codes: tuple[str, ...]) -> dict[str, str]:
    """Colour of each script where colour tells scripts; those of the fewest languages share a grey."""
    named = _common(codes)
    return {script: _SCRIPT_COLOURS[named[script]] if script in named else OTHER for script in _scripts(codes)}


@cache
def script_shapes(codes: tuple[str, ...]) -> dict[str, str]:
    """Marker of each script; those of the fewest languages share one."""
    named = _common(codes)
    return {script: SHAPES[named[script]] if script in named else _RARE for script in _scripts(codes)}


def tells_script(paint: str) -> bool:
    """Whether a colour means a script, not a language."""
    return paint in {*_SCRIPT_COLOURS, OTHER}


def rare(script: str, codes: tuple[str, ...]) -> bool:
    """Whether a script shares its look with others."""
    return script not in _common(codes)


def _scripts(codes: tuple[str, ...]) -> list[str]:
    """The scripts, those of most languages first."""
    return [script for script, _ in Counter(language(code).script for code in codes).most_common()]


def _common(codes: tuple[str, ...]) -> dict[str, int]:
    return {script: at for at, script in enumerate(_scripts(codes)[: len(_SCRIPT_COLOURS)])}


def script_look(code: str, context: Context) -> tuple[str, str]:
    """Colour and marker of a language where its script is shown: the script's shape; of many, its colour, too."""
    script, codes = language(code).script, context.shown
    shape = script_shapes(codes).get(script, _RARE)
    if len(codes) > len(_PAIRS):
        return script_colours(codes).get(script, OTHER), shape
    return colour(code, context), shape


def model_look(model: str, context: Context) -> tuple[str, str]:
    """Colour and marker of a model in every figure of a study."""
    at = list(context.settings["models"]).index(model)
    return MODELS[at % len(MODELS)], MODEL_SHAPES[(at // len(MODELS) + at) % len(MODEL_SHAPES)]


def contrast(paint: str) -> float:
    """Contrast of a hex colour with white, 1 to 21 (WCAG 2.2, definition of contrast ratio)."""
    channels = [int(paint[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
