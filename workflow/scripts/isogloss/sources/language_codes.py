"""Stage `translation_codes`: how a multilingual translation model calls the two languages of a direction."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from babel.core import get_global

from isogloss.errors import IsoglossError
from isogloss.sources.multilingual import language_tokens
from isogloss.tables import atomic_path

_WHOLE = {"nb": "no", "nn": "no"}  # MADLAD has Norwegian as one
_SHOWN = 12  # codes that a message names


def write_codes(
    *,
    translator: str,
    backend: str,
    source_lang: str,
    lang: str,
    codes: Mapping[str, str],
    flores: Mapping[str, str | None],
    output: str,
) -> None:
    """Write {"source": ..., "target": ...}: what the model in `translator` calls `source_lang` and `lang`.

    NLLB's codes are those of FLORES-200 (`flores`, by language), MADLAD's much like BCP 47; `codes` has
    the study's own, which go first. Raises `IsoglossError` for a language that the model lacks.
    """
    known = language_tokens(Path(translator), backend)
    pair = {
        side: model_code(code, known, backend, own=codes.get(code), flores=flores.get(code))
        for side, code in (("source", source_lang), ("target", lang))
    }
    with atomic_path(Path(output)) as aside:
        aside.write_text(json.dumps(pair) + "\n", encoding="utf-8")


def model_code(lang: str, known: Collection[str], backend: str, *, own: str | None, flores: str | None) -> str:
    """The code of `known` that is the language `lang`.

    MADLAD's is the tag itself, without a region, without a script that is the usual one, or under
    another of its names in CLDR. Another script is another language: zh (in Hans) is not zh-Hant.
    """
    tried = [own] if own else [flores] if backend == "nllb" else list(_madlad_codes(lang))
    code = next((code for code in tried if code in known), None)
    if code is not None:
        return code
    near = sorted(code for code in known if code[:2] == lang[:2] or (flores and code[:3] == flores[:3]))
    shown = ", ".join((near or sorted(known))[:_SHOWN])
    more = f" and {len(known) - _SHOWN} more" if not near and len(known) > _SHOWN else ""
    what = f"no code {own!r} (translation.codes.{lang})" if own else f"no token for {lang}"
    mend = f"correct translation.codes.{lang}" if own else f"set translation.codes.{lang} to one of them"
    raise IsoglossError(
        f"translation.model: the {backend} model has {what}; it has {shown}{more}: {mend} or leave the language out"
    )


def _madlad_codes(lang: str) -> Iterator[str]:
    base, *rest = lang.split("-")
    script = next((part for part in rest if len(part) == 4), None)
    yield "_".join([base, *rest])
    aliases = get_global("language_aliases")
    names = [base, aliases.get(base), _WHOLE.get(base), *(old for old, new in aliases.items() if new == base)]
    usual = script is None or f"_{script}" in get_global("likely_subtags").get(base, "")
    for name in filter(None, names):
        if script is not None:
            yield f"{name}_{script}"
        if usual:
            yield name
