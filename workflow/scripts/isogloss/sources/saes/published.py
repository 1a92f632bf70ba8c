"""What a layout of published SAEs reads, what it makes of it, and how it refuses what it does not understand."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isogloss.errors import IsoglossError

if TYPE_CHECKING:
    from torch import Tensor  # a second to import: plans ask for widths only


_SHOWN = 8
_LONGEST = 200  # characters of a name
_LARGEST = 1 << 26  # bytes of a config: what is longer is cut off, and then no JSON


class PublishedSae(NamedTuple):
    """An SAE in the one form that isogloss keeps: z = (x - b_dec?) W_enc + b_enc, then its kind, x^ = f W_dec + b_dec.

    Activations are in the units of the publisher's own encoder. What changes the input by a matrix or a number is
    folded into the weights.
    """

    kind: str  # standard (ReLU), jumprelu or topk
    w_enc: "Tensor"  # d_model x features
    b_enc: "Tensor"
    w_dec: "Tensor"  # features x d_model
    b_dec: "Tensor"
    subtracts_b_dec: bool  # whether the encoder's input is x - b_dec
    hook: str | None  # in TransformerLens' names or those of transformers' modules; None: the files do not say
    model: str | None  # the language model, as the files call it
    threshold: "Tensor | None" = None
    k: int | None = None
    unit_norm_input: bool = False  # x / ||x|| goes in
    centred_input: bool = False  # x^ is that of x - mean(x); the encoder's weights have it folded in
    declared: int | None = None  # features by the config
    width: int | None = None  # d_model by the config


class Shape(NamedTuple):
    """What an SAE costs, read without its weights."""

    kind: str
    features: int


class Opened(NamedTuple):
    """The files of one SAE on this machine, and what is known of it besides."""

    where: str  # how messages call it
    files: Mapping[str, Path]  # by the names in its layout
    sae_id: str
    names: tuple[str, ...]  # of the repository, the release, the folder: some layouts say part of the config there
    scale: float | None = None  # of inputs, from SAELens' directory (norm_scaling_factor)
    overrides: Mapping[str, Any] = {}  # of the files' config, from SAELens' directory
    ignore: Collection[str] = ()  # keys of the files' config that the user declares harmless


class Layout(NamedTuple):
    """Files that a publisher's SAEs consist of. Names are below the SAE's id; "" is the id itself."""

    files: tuple[str, ...]
    read: Callable[[Opened], PublishedSae]
    shape: Callable[[Opened], Shape]
    also: tuple[str, ...] = ()  # taken if there; ../NAME is beside the id's folder
    id_ends: str = ""  # how the id ends, where it is a file


def read_config(opened: Opened, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`; raises `IsoglossError` if it holds none."""
    try:
        with opened.files[name].open("rb") as handle:
            config = json.loads(handle.read(_LARGEST).decode())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise IsoglossError(f"{opened.where}: {name} is no JSON object; fetch it again")
    return config


def mapping(opened: Opened, config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under a key of the config, which may be absent or null; raises `IsoglossError` for anything else."""
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise IsoglossError(f"{opened.where}: {key} is {as_json(value)}, not an object; fetch it again")
    return value or {}


def name(opened: Opened, config: Mapping[str, Any], key: str) -> str | None:
    """The text under a key of the config, which may be absent or null; raises `IsoglossError` for anything else."""
    value = config.get(key)
    if value is not None and not (isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST):
        raise IsoglossError(f"{opened.where}: {key} is {as_json(value)}, not a name; fetch it again")
    return value or None


def some(names: Collection[str]) -> str:
    """Names of keys or tensors from elsewhere as messages list them, the first few of many."""
    first = [text if text.isprintable() and len(text) <= 80 else as_json(text) for text in list(names)[:_SHOWN]]
    return ", ".join(first) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def as_json(value: Any) -> str:
    """A value of a config as messages show it."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def check_keys(
    opened: Opened,
    config: Mapping[str, Any],
    known: Collection[str],
    part: str = "its config",
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """`config` without the keys that the user ignores: those that are not known, and `optional` ones.

    Raises `IsoglossError` naming the other keys that are not `known`.
    """
    kept = {key: value for key, value in config.items() if key not in opened.ignore or key in {*known} - {*optional}}
    if unknown := sorted(kept.keys() - {*known}):
        raise IsoglossError(
            f"{opened.where}: {part} has {some(unknown)}, which isogloss does not know; if that changes no"
            " activation, name it in saes.ignore"
        )
    return kept


def check_neutral(
    opened: Opened, config: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]], optional: Collection[str] = ()
) -> None:
    """Raise `IsoglossError` for a key of `neutral` whose value is none of those that change nothing."""
    for key, values in neutral.items():
        if key in config and not any(config[key] == value and type(config[key]) is type(value) for value in values):
            mend = f", or name {key} in saes.ignore if it changes nothing here" if key in optional else ""
            raise IsoglossError(
                f"{opened.where}: {key} is {as_json(config[key])}, which isogloss does not apply; give another"
                f" SAE{mend}"
            )


def whole_number(opened: Opened, config: Mapping[str, Any], key: str) -> int:
    """A positive whole number of the config; raises `IsoglossError` for anything else."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise IsoglossError(f"{opened.where}: {key} is {as_json(value)}, not a positive whole number")
    return value


def flag(opened: Opened, config: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """True or false under a key of the config, `default` if absent; null is false where that is the default.

    Raises `IsoglossError` for anything else, "false" as a text say.
    """
    value = config.get(key, default)
    if value is None and not default:
        return False
    if not isinstance(value, bool):
        raise IsoglossError(
            f"{opened.where}: {key} is {as_json(value)}, not true or false; correct it, or fetch it again"
        )
    return value


def words(text: str) -> frozenset[str]:
    """The words of `text`: how layouts list the keys of configs."""
    return frozenset(text.split())
