"""Study files, which must say what they mean: Snakemake reads YAML 1.1, where `no` is false and 1:30 is 90.

What a reader of today's YAML 1.2 (or anyone) would take for something else is refused, and so is what Snakemake would
drop in silence.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from isogloss.errors import IsoglossError, shown

# Plain scalars by their YAML 1.1 type (https://yaml.org/type/): which of them mean the same in YAML 1.2, and advice.
_MEANT: dict[str, tuple[str, str]] = {
    "bool": (r"[Tt]rue|TRUE|[Ff]alse|FALSE", "true or false; write that, or put it in quotes"),
    "int": (r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+", "a number to another base; write it in decimals, or in quotes"),
    "float": (r"[^:]*", "a number to the base 60; write it in decimals, or in quotes"),
    "timestamp": (r"(?!)", "a date; put it in quotes"),
}
_KIND = "tag:yaml.org,2002:"
_VALUES = 100_000  # of a study with its aliases written out; the largest studies have hundreds
_DIGITS = 19  # of the largest number that a study may have


def read_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file, as Snakemake too would read it.

    Raises `IsoglossError` with a line for each mistake, its number in it: for a file that cannot be read or is
    no mapping, a key that comes twice, and a plain value that YAML 1.1 takes for something else than it says.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise IsoglossError(f"{path}: not in UTF-8 ({error.reason} at byte {error.start}); save it so") from None
    except OSError as error:
        raise IsoglossError(f"{path}: no study file: {error.strerror}; give a YAML file") from None
    content = _json(text, path)
    if content is None:
        content = _yaml(text, path)
    if not isinstance(content, dict):
        raise IsoglossError(f"{path}: no mapping of keys; a study has study, languages, models: see config/README.md")
    if "__use_yte__" in content:
        raise IsoglossError(f"{path}: __use_yte__: a study is no template; write it out")
    return content


def read_texts(path: str | Path) -> dict[str, Any]:
    """As `read_file`, of a file whose texts models read; raises `IsoglossError` for half a surrogate pair, too."""
    content = read_file(path)
    try:
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode()
    except UnicodeEncodeError as error:
        half, before = ord(error.object[error.start]), error.object[max(0, error.start - 20) : error.start]
        raise IsoglossError(
            f"{path}: U+{half:04X} after {shown(before)} is half a surrogate pair and no character; mend the text"
        ) from None
    return content


def check_files(paths: Sequence[str | Path]) -> None:
    """Raise `IsoglossError` as `read_file`, or if none of the files that are merged is a study of its own.

    Snakemake has read them already, so nothing is returned.
    """
    contents = [read_file(path) for path in paths]
    if contents and not any("study" in content for content in contents):
        raise IsoglossError(
            f"{paths[-1]}: no key study: a study file is whole and replaces the default one; name the study, or give"
            f" the file that this one changes too: --configfile config/config.yaml {paths[-1]}"
        )


def with_numbers(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with numbers and truth values where Snakemake left text: within the values of `--config`, `given`."""
    out = dict(config)
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = with_numbers(out[key], value)
        elif key in out and out[key] == value:
            out[key] = _number(value)
    return out


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _number(item) for key, item in value.items()}
    try:
        read = json.loads(value)
    except (TypeError, ValueError):
        return value
    return value if isinstance(read, (str, list, dict)) else read


def _json(text: str, path: str | Path) -> Any:
    """The content of a JSON file; None for a file that is none, which is YAML then."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(mapping := dict(pairs)) < len(pairs):
            names = [key for key, _ in pairs]
            doubled = next(key for key in names if names.count(key) > 1)
            raise IsoglossError(f"{path}: the key {doubled!r} comes twice in one mapping; keep one")
        return mapping

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None


def _yaml(text: str, path: str | Path) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and (values := _size(root, {}, ())) > _VALUES:
            raise IsoglossError(f"{path}: {values} values once its aliases are written out; a study has hundreds")
        problems = [] if root is None else list(dict.fromkeys(_problems(root, ())))
        if problems:
            lines = [f"  {path}:{line}: {problem}" for line, problem in problems]
            raise IsoglossError("\n".join([f"{len(lines)} mistake(s) in the configuration", *lines]))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tab = "; indent with spaces" if error.problem and "\\t" in error.problem else ""
        raise IsoglossError(f"{path}:{mark.line + 1 if mark else 1}: no YAML: {error.problem}{tab}") from None
    except RecursionError:
        raise IsoglossError(f"{path}: lists and mappings within each other too deeply; write it as a study") from None
    except (yaml.YAMLError, ValueError) as error:
        raise IsoglossError(f"{path}: no YAML: {' '.join(str(error).split())[:300]}") from None


def _size(node: yaml.Node, sizes: dict[int, int], above: tuple[yaml.Node, ...]) -> int:
    """How many values a node is with its aliases written out, those of itself aside; each node is counted once."""
    if node in above or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        sizes[id(node)] = 1 + sum(_size(part, sizes, (*above, node)) for part in parts)
    return sizes[id(node)]


def _problems(node: yaml.Node, above: tuple[yaml.Node, ...]) -> Iterator[tuple[int, str]]:
    """Line and kind of each mistake in a YAML node and below."""
    line = node.start_mark.line + 1
    if node in above:
        yield line, "an alias of what it stands in; write it out"
    elif isinstance(node, yaml.ScalarNode):
        meant = _MEANT.get(node.tag.removeprefix(_KIND))
        if node.style is None and meant and not re.fullmatch(meant[0], node.value):
            yield line, f"{node.value[:80]} is read as {meant[1]}"
        elif node.tag == f"{_KIND}int" and len(node.value) > 2 * _DIGITS:
            yield line, f"{node.value[:_DIGITS]}… is a number of {len(node.value)} characters; numbers end at 2**63 - 1"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _problems(item, (*above, node))
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}  # 1 and "1" are the same key: names are text
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield line, "a list or mapping as a key; write a name"
            elif (name := key.value) in first:
                yield (
                    key.start_mark.line + 1,
                    f"the key {name} comes twice, first in line {first[name]}; keep one",
                )
            else:
                first[name] = key.start_mark.line + 1
            yield from _problems(key, (*above, node))
            yield from _problems(value, (*above, node))
