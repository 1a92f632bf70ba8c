"""Stages `fetch_translator` and `fetch_multilingual`: translation models, of one direction and of all languages."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from babel.core import get_global

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError, several, shown
from isogloss.models.encoder_decoder import load_encoder_decoder
from isogloss.models.weights import check_finite, check_weights
from isogloss.sources.conversion import convert, unpickle, weight_files
from isogloss.sources.hub import Repository, link, open_repository, record
from isogloss.sources.multilingual import MADLAD_PIECES, NLLB_PIECES, language_tokens, read_json, tokens_of_texts
from isogloss.sources.values import encoded
from isogloss.tables import atomic_path

CONFIG, TOKENIZER, VOCABULARY = "config.json", "tokenizer_config.json", "vocab.json"
TARGET_VOCABULARY = "target_vocab.json"  # of Marian models whose two sides have vocabularies of their own
OPTIONAL = ("generation_config.json", "special_tokens_map.json", TARGET_VOCABULARY)
NAMED_PAIR = re.compile(r".*opus-mt(?:-tc)?(?:-base|-big)?-([a-z]{2,3})-([a-z]{2,3})")


class Family(NamedTuple):
    """Translation models of a kind, in the format that transformers reads."""

    model_type: str  # in config.json
    files: tuple[str, ...]  # that each has, config.json first; weights apart
    title: str


FAMILIES = {  # by `translation.backend`
    "opus-mt": Family(
        "marian", (CONFIG, TOKENIZER, VOCABULARY, "source.spm", "target.spm"), "OPUS-MT (Helsinki-NLP/opus-mt-...)"
    ),
    "nllb": Family("m2m_100", (CONFIG, TOKENIZER, "tokenizer.json", NLLB_PIECES), "NLLB-200 (facebook/nllb-200-...)"),
    "madlad": Family("t5", (CONFIG, MADLAD_PIECES), "MADLAD-400 (google/madlad400-...-mt)"),
}


def fetch_translator(
    *,
    source: Source,
    target: str | None,
    engine: str,
    compute_type: str,
    source_lang: str,
    target_lang: str,
    output: str,
) -> None:
    """Make the folder `output` with an OPUS-MT model that translates `source_lang` to `target_lang`.

    Weights that upstream has only pickled are read as tensors alone (`weights_only`) and written as
    safetensors. With engine `ctranslate2` the model is converted as well, in `compute_type`, into the
    subfolder `ctranslate2`. Raises `IsoglossError` for a model that is not Marian, lacks a file, is
    of another pair of languages, or needs a `target` that it is not given or does not know.
    """
    repository = open_repository(source)
    first = _described(repository, "opus-mt")
    _check_pair(repository, first, (source_lang, target_lang))
    _check_target(first, target, target_lang, repository.where)
    for name in filter(repository.has, (VOCABULARY, TARGET_VOCABULARY)):
        _check_ids(first, read_json(repository.take([name])[name].parent, name), f"{repository.where}: {name}")
    _take(repository, "opus-mt", engine, compute_type, output, target=target)


def fetch_multilingual(*, source: Source, backend: str, engine: str, compute_type: str, output: str) -> None:
    """Make the folder `output` with a model of all languages, NLLB or MADLAD (`backend`), once for a study.

    As `fetch_translator`. Raises `IsoglossError` for a model of another kind, or that lacks a file.
    """
    repository = open_repository(source)
    folder = _described(repository, backend)
    if not language_tokens(folder, backend):
        raise IsoglossError(f"{repository.where}: its tokens name no languages; give {FAMILIES[backend].title}")
    name = "tokenizer.json" if backend == "nllb" else MADLAD_PIECES
    _check_ids(folder, tokens_of_texts(folder, backend), f"{repository.where}: {name}")
    _take(repository, backend, engine, compute_type, output)


def _described(repository: Repository, backend: str) -> Path:
    """A folder with what describes a model of a family, and its tokenizer; the weights come once that is right."""
    family, where = FAMILIES[backend], repository.where
    if repository.has(CONFIG):
        model_type = read_json(repository.take([CONFIG])[CONFIG].parent, CONFIG).get("model_type")
        if model_type != family.model_type:
            other = next((name for name, one in FAMILIES.items() if one.model_type == model_type), None)
            instead = f", or set translation.backend {other}" if other else ""
            raise IsoglossError(
                f"{where}: model_type {model_type!r}, not {family.model_type}; give {family.title}{instead}"
            )
    if lacking := [name for name in family.files if not repository.has(name)]:
        raise IsoglossError(
            f"{where}: {', '.join(lacking)} not there; a model for backend {backend} has {', '.join(family.files)};"
            f" give {family.title}"
        )
    return repository.take(family.files)[CONFIG].parent


def _take(
    repository: Repository, backend: str, engine: str, compute_type: str, output: str, **more: str | None
) -> None:
    """Fetch all files of a model that was found right, unpickle and convert."""
    weights, pickled = weight_files(repository)
    names = [*FAMILIES[backend].files, *filter(repository.has, OPTIONAL)]
    files = repository.take([*names, *weights])
    with atomic_path(Path(output)) as aside:
        link({name: path for name, path in files.items() if not pickled or name not in weights}, aside)
        if pickled:
            unpickle(files[weights[0]].parent, aside, f"{repository.where}: {weights[0]}")
        check_weights(aside, method=None, where=repository.where)
        load_encoder_decoder(aside, where=repository.where, device_map="meta")
        for path in sorted(aside.glob("*.safetensors")):
            check_finite(path, f"{repository.where}: {path.name}")
        if engine == "ctranslate2":
            convert(aside, compute_type, repository.where, backend)
        record(aside, repository, files, backend=backend, engine=engine, compute_type=compute_type, **more)


def _check_pair(repository: Repository, folder: Path, pair: tuple[str, str]) -> None:
    """Refuse a model whose tokenizer, or else whose name, tells another pair of languages.

    What has no two-letter code after CLDR's aliases (a group of languages, say) is not compared.
    """
    settings = read_json(folder, TOKENIZER)
    languages = [settings.get(key) for key in ("source_lang", "target_lang")]
    if not all(isinstance(code, str | None) for code in languages):
        raise IsoglossError(
            f"{repository.where}: {TOKENIZER} has the languages {shown(languages)}, which are no codes; fetch it again"
        )
    named = NAMED_PAIR.fullmatch(repository.id or "")
    if named and None in languages:
        languages = list(named.groups())
    for code, wanted in zip(languages, pair, strict=True):
        if _differ(code, wanted):
            raise IsoglossError(
                f"{repository.where}: translates {languages[0]} to {languages[1]}, wanted is {pair[0]} to {pair[1]};"
                " give the model of that direction"
            )


def _check_target(folder: Path, target: str | None, wanted: str, where: str) -> None:
    """A multi-target model has a token >>CODE<< for each language (`MarianTokenizer.supported_language_codes`)."""
    tokens = (token for token in read_json(folder, VOCABULARY) if token.startswith(">>") and token.endswith("<<"))
    codes = sorted(token[2:-2] for token in tokens)
    if target is None and len(codes) > 1:
        raise IsoglossError(f"{where}: translates to several languages; give `target`, one of {several(codes)}")
    if target is not None and target not in codes:
        known = f"it knows {several(codes)}" if codes else "it has one language and needs no `target`"
        raise IsoglossError(f"{where}: no target {target!r}; {known}")
    if target is not None and _differ(target, wanted):
        raise IsoglossError(f"{where}: target {target!r} is not {wanted}; give one of that language: {several(codes)}")


def _check_ids(folder: Path, tokens: Mapping[str, Any], where: str) -> None:
    """Refuse a tokenizer by which a text has tokens that the model, by its configuration, does not have."""
    config = read_json(folder, CONFIG)
    words: list[Any] = [config[key] for key in ("vocab_size", "decoder_vocab_size") if config.get(key) is not None]
    if not words or not all(type(number) is int and number > 0 for number in words):
        raise IsoglossError(f"{where}: {CONFIG} beside it names no vocab_size; fetch it again")
    names: dict[int, str] = {}
    for token, number in tokens.items():
        if type(number) is not int or not 0 <= number < max(words):
            raise IsoglossError(
                f"{where}: the token {shown(token)} has the id {shown(number)}, where {CONFIG} gives the model tokens 0"
                f" to {max(words) - 1}; the files are of two models: fetch both again"
            )
        encoded(token, "token", where)
        if (other := names.setdefault(number, token)) != token:
            raise IsoglossError(
                f"{where}: the tokens {shown(other)} and {shown(token)} have one id, {number}; fetch it again"
            )


def _differ(code: str | None, wanted: str) -> bool:
    """Whether both codes are languages with a two-letter code, and not the same."""
    a, b = _two_letters(code), _two_letters(wanted)
    return a is not None and b is not None and a != b


def _two_letters(code: str | None) -> str | None:
    base = re.split(r"[-_]", code or "")[0].lower()
    short = base if len(base) == 2 else get_global("language_aliases").get(base, "")
    return short if len(short) == 2 else None
