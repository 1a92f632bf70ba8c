"""Stage `fetch_translator`: an OPUS-MT (Marian) model of one direction."""

import json
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

from babel.core import get_global

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.hub import Repository, link, open_repository, record
from isogloss.tables import atomic_path

CONFIG, TOKENIZER, VOCABULARY = "config.json", "tokenizer_config.json", "vocab.json"
NEEDED = (CONFIG, TOKENIZER, VOCABULARY, "source.spm", "target.spm")
OPTIONAL = ("generation_config.json", "special_tokens_map.json", "target_vocab.json")
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
NAMED_PAIR = re.compile(r".*opus-mt(?:-tc)?(?:-base|-big)?-([a-z]{2,3})-([a-z]{2,3})")


def fetch_translator(
    *,
    source: Source,
    target: str | None,
    engine: str,
    compute_type: str,
    lang: str,
    reference: str,
    direction: Literal["to", "from"],
    output: str,
) -> None:
    """Make the folder `output` with a Marian model that translates to `lang` or from it.

    Weights that upstream has only pickled are read as tensors alone (`weights_only`) and written as
    safetensors. With engine `ctranslate2` the model is converted as well, in `compute_type`, into the
    subfolder `ctranslate2`. Raises `IsoglossError` for a model that is not Marian, lacks a file, is
    of another pair of languages, or needs a `target` that it is not given or does not know.
    """
    repository = open_repository(source)
    lacking = [name for name in NEEDED if not repository.has(name)]
    if lacking:
        raise IsoglossError(
            f"{repository.where}: {', '.join(lacking)} not there; a Marian model of transformers has"
            f" {', '.join(NEEDED)}: give such a repository"
        )
    weights = next((name for name in (SAFE, PICKLED) if repository.has(name)), None)
    if weights is None:
        raise IsoglossError(f"{repository.where}: neither {SAFE} nor {PICKLED}; give a repository with weights")
    first = repository.take([CONFIG, TOKENIZER, VOCABULARY])
    _check_marian(first[CONFIG], repository.where)
    pair = (reference, lang) if direction == "to" else (lang, reference)
    _check_pair(repository, first[TOKENIZER], pair)
    _check_target(first[VOCABULARY], target, pair[1], repository.where)
    files = repository.take([*NEEDED, *filter(repository.has, OPTIONAL), weights])
    with atomic_path(Path(output)) as aside:
        link({name: path for name, path in files.items() if name != PICKLED}, aside)
        if weights == PICKLED:
            _unpickled(files[PICKLED].parent, aside, f"{repository.where}: {PICKLED}")
        if engine == "ctranslate2":
            _convert(aside, compute_type, repository.where)
        record(aside, repository, files, engine=engine, compute_type=compute_type, target=target)


def _json(path: Path, where: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IsoglossError(f"{where}: {path.name} is not valid JSON ({error}); fetch it again") from None
    if not isinstance(value, dict):
        raise IsoglossError(f"{where}: {path.name} is not a JSON object; fetch it again")
    return value


def _check_marian(config: Path, where: str) -> None:
    model_type = _json(config, where).get("model_type")
    if model_type != "marian":
        raise IsoglossError(
            f"{where}: model_type {model_type!r}, not marian; give an OPUS-MT model (Helsinki-NLP/opus-mt-...)"
        )


def _check_pair(repository: Repository, tokenizer: Path, pair: tuple[str, str]) -> None:
    """Refuse a model whose tokenizer, or else whose name, tells another pair of languages.

    What has no two-letter code after CLDR's aliases (a group of languages, say) is not compared.
    """
    settings = _json(tokenizer, repository.where)
    languages = [settings.get("source_lang"), settings.get("target_lang")]
    named = NAMED_PAIR.fullmatch(repository.id or "")
    if named and None in languages:
        languages = list(named.groups())
    for code, wanted in zip(languages, pair, strict=True):
        if _differ(code, wanted):
            raise IsoglossError(
                f"{repository.where}: translates {languages[0]} to {languages[1]}, wanted is {pair[0]} to {pair[1]};"
                " give the model of that direction"
            )


def _check_target(vocabulary: Path, target: str | None, wanted: str, where: str) -> None:
    """A multi-target model has a token >>CODE<< for each language (`MarianTokenizer.supported_language_codes`)."""
    tokens = (token for token in _json(vocabulary, where) if token.startswith(">>") and token.endswith("<<"))
    codes = sorted(token[2:-2] for token in tokens)
    if target is None and len(codes) > 1:
        raise IsoglossError(f"{where}: translates to several languages; give `target`, one of {', '.join(codes)}")
    if target is not None and target not in codes:
        known = f"it knows {', '.join(codes)}" if codes else "it has one language and needs no `target`"
        raise IsoglossError(f"{where}: no target {target!r}; {known}")
    if target is not None and _differ(target, wanted):
        raise IsoglossError(
            f"{where}: target {target!r} is not {wanted}; give one of that language: {', '.join(codes)}"
        )


def _differ(code: str | None, wanted: str) -> bool:
    """Whether both codes are languages with a two-letter code, and not the same."""
    a, b = _two_letters(code), _two_letters(wanted)
    return a is not None and b is not None and a != b


def _two_letters(code: str | None) -> str | None:
    base = re.split(r"[-_]", code or "")[0].lower()
    short = base if len(base) == 2 else get_global("language_aliases").get(base, "")
    return short if len(short) == 2 else None


def _unpickled(source: Path, output: Path, where: str) -> None:
    """Write the weights of `source`/pytorch_model.bin as safetensors into `output`, running no pickled code."""
    from transformers import MarianMTModel

    try:
        loaded: Any = MarianMTModel.from_pretrained(
            str(source), use_safetensors=False, weights_only=True, local_files_only=True, output_loading_info=True
        )
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0]
        raise IsoglossError(f"{where}: not a whole file of tensors ({reason}); fetch it again") from None
    model, report = loaded
    if report["missing_keys"]:  # transformers fills them with random numbers
        raise IsoglossError(f"{where}: no {', '.join(sorted(report['missing_keys'])[:3])}; give a whole Marian model")
    # A folder of its own: the configuration in `output` is a link, through which saving would write to its source.
    with tempfile.TemporaryDirectory(dir=output) as folder:
        model.save_pretrained(folder)
        for name in (SAFE, "generation_config.json"):
            made = Path(folder, name)
            if made.exists() and not (output / name).exists():
                made.replace(output / name)


def _convert(folder: Path, compute_type: str, where: str) -> None:
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError:
        raise IsoglossError(
            "engine ctranslate2: the package ctranslate2 is not installed; install it or take engine transformers"
        ) from None
    try:
        TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"), quantization=compute_type)
    except (RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise IsoglossError(
            f"{where}: CTranslate2 cannot convert it ({reason}); take engine transformers or another model"
        ) from None
