"""How many phrases a study has and how many tokens: counted in the results where they lie, assumed elsewhere."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from isogloss.config import Study
from isogloss.config.model import AnalysedModel
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan.settings import Settings
from isogloss.tables import iter_table, table_metadata


class Texts(NamedTuple):
    """The phrases of a layer in a language, as a model reads them."""

    number: float
    tokens: float  # of the texts themselves, without BOS
    products: float  # sum of squared lengths, BOS included

    @property
    def positions(self) -> float:
        """Tokens that go through the model: BOS comes first in every text."""
        return self.tokens + self.number

    @property
    def length(self) -> float:
        """Mean tokens of a text, BOS included."""
        return self.positions / self.number if self.number else 0.0

    def share(self, part: float) -> "Texts":
        """A part of the texts, drawn at random."""
        return Texts(*(part * value for value in self))


def alike(number: float, tokens: float) -> Texts:
    """`number` texts of `tokens` tokens each."""
    return Texts(number, number * tokens, number * (tokens + 1) ** 2)


def together(texts: Iterable[Texts]) -> Texts:
    """All the texts."""
    return Texts(*(sum(values) for values in zip(Texts(0, 0, 0), *texts, strict=True)))


class Corpus(NamedTuple):
    """The texts of a model by layer and language, and where their numbers come from."""

    texts: Mapping[tuple[int, str], Texts]
    notes: list[str]


def sae_shape(model: AnalysedModel) -> tuple[str, int]:
    """Kind and width of a model's SAEs."""
    if isinstance(model, PretrainedModel) and model.saes is not None:
        return model.saes.kind, model.saes.features
    return "topk", model.sae.features if model.sae is not None else 0


def corpus_of(study: Study, name: str, settings: Settings, results: Path) -> Corpus:
    """The phrases of a model and their translations.

    Tables of the same study that lie in `results` are counted: phrases with their ids in the reference
    language, and activations, which hold every text's number of tokens. What they lack is assumed: phrases
    per feature, 2 window + 1 tokens each, times the language's fertility.
    """
    model, reference = study.models[name], study.languages.reference
    folder = results / name
    numbers, lengths = _phrases(study, folder)
    measured = _activations(study, folder)
    _, features = sae_shape(model)
    per_feature = float(study.phrases.per_feature)  # a toy's corpus has windows enough
    if isinstance(model, PretrainedModel):
        per_feature = min(settings.phrases_per_feature, per_feature)
    assumed = per_feature * math.ceil(features / study.phrases.feature_stride)
    texts = {}
    for layer in model.layer_list:
        number = numbers.get(layer, assumed)
        own = lengths.get(layer) or alike(number, 2 * study.phrases.window + 1)
        for lang in study.languages.all:
            ratio = settings.tokens_per_reference_token(lang, reference)
            guess = own if lang == reference else alike(number, ratio * own.tokens / number if number else 0.0)
            texts[layer, lang] = measured.get((layer, lang), guess)
    notes = _notes(study, name, per_feature, set(numbers), set(lengths), set(measured), settings)
    return Corpus(texts, [*notes, *_outdated(study, name, folder)])


def _phrases(study: Study, folder: Path) -> tuple[dict[int, int], dict[int, Texts]]:
    """Phrases by layer, and the reference's texts by layer where the tables hold their ids."""
    numbers: dict[int, int] = {}
    parts: dict[int, list[Texts]] = {}
    tables = [path for path in sorted((folder / "phrases").glob("*.parquet")) if path.name.count(".") == 1]
    for path in filter(lambda path: _of_study(path, study), tables):
        for rows in iter_table(path, ["layer", "ids"]):
            for (layer,), group in rows.group_by("layer"):
                assert isinstance(layer, int)
                numbers[layer] = numbers.get(layer, 0) + len(group)
                if not group["ids"].null_count():
                    parts.setdefault(layer, []).append(_lengths(group["ids"].list.len()))
    return numbers, {layer: together(found) for layer, found in parts.items()}


def _activations(study: Study, folder: Path) -> dict[tuple[int, str], Texts]:
    """Texts by layer and language, as the base model's activations counted them."""
    parts: dict[tuple[int, str], list[Texts]] = {}
    tables = sorted((folder / "activations" / "base").glob("*/*/*.parquet"), key=lambda path: path.stat().st_mtime)
    newest = {(path.parts[-3], path.name): path for path in tables}  # others are left over from other languages_per_job
    for path in sorted(newest.values()):
        if not _of_study(path, study):
            continue
        for rows in iter_table(path, ["layer", "n_tokens"]):
            for (layer,), group in rows.drop_nulls().group_by("layer"):
                assert isinstance(layer, int)
                parts.setdefault((layer, path.stem), []).append(_lengths(group["n_tokens"]))
    return {key: together(found) for key, found in parts.items()}


def _lengths(tokens: pl.Series) -> Texts:
    lengths = tokens.cast(pl.Float64)
    return Texts(len(lengths), float(lengths.sum()), float(((lengths + 1) ** 2).sum()))


def _of_study(path: Path, study: Study) -> bool:
    return table_metadata(path).get("study") == study.study


def _outdated(study: Study, name: str, folder: Path) -> list[str]:
    """A warning where tables were made under another configuration of the study (`stage.provenance`)."""
    now = hashlib.sha256(json.dumps(study.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]
    tables = [*(folder / "phrases").glob("*.parquet"), *(folder / "activations" / "base").glob("*/*/*.parquet")]
    other = sum(_of_study(path, study) and table_metadata(path).get("config") != now for path in tables)
    return [f"{name}: {other} of the counted tables were made under another configuration"] if other else []


def _notes(
    study: Study,
    name: str,
    per_feature: float,
    numbers: set[int],
    lengths: set[int],
    measured: set[tuple[int, str]],
    settings: Settings,
) -> list[str]:
    layers, reference = study.models[name].layer_list, study.languages.reference
    stride = study.phrases.feature_stride
    every = "every feature" if stride == 1 else f"one feature in {stride}"
    basis = f"assumed: {per_feature:g} a feature, {every}"
    present = [str(layer) for layer in layers if layer in numbers]
    if len(present) == len(layers):
        basis = "counted"
    elif present:
        basis = f"counted for layers {', '.join(present)}, for others {basis}"
    notes = [f"{name}: phrases {basis}"]
    counted = {lang: {layer for layer, code in measured if code == lang} for lang in study.languages.all}
    counted[reference] |= lengths
    whole = [lang for lang, found in counted.items() if found >= set(layers)]
    partly = [lang for lang, found in counted.items() if found and lang not in whole]
    absent = [lang for lang in counted if lang not in whole and lang not in partly]
    if whole:
        notes.append(f"{name}: tokens counted: {', '.join(whole)}")
    if partly:
        notes.append(f"{name}: tokens counted for some layers, assumed for others: {', '.join(partly)}")
    if absent:
        basis = "as counted" if reference in whole else f"{2 * study.phrases.window + 1} tokens"
        fertility = " ".join(
            f"{lang}={settings.tokens_per_reference_token(lang, reference):.3g}" for lang in absent if lang != reference
        )
        notes.append(f"{name}: tokens assumed: a {reference} phrase {basis}, times {fertility or '1'}")
    return notes


def question_counts(study: Study, name: str, results: Path) -> dict[str, int]:
    """Questions of each task's tested split by the fetched files: the fewest that a language has."""
    kind = study.models[name].kind
    parent = results / ("world/benchmarks" if kind == "toy" else "benchmarks")
    counted: dict[str, int] = {}
    for task in study.benchmarks.tasks:
        split = "val" if task == "hellaswag" else "test"
        files = [parent / f"m_{task}" / "data" / lang / f"{split}.jsonl" for lang in study.languages.all]
        if all(path.is_file() for path in files):
            counted[task] = min(sum(1 for line in path.open("rb") if line.strip()) for path in files)
    return counted


def model_config(model: AnalysedModel, folder: Path) -> dict[str, object]:
    """The model's config.json, from the results or from a local source; empty without one."""
    sources = [folder / "lm"]
    if isinstance(model, PretrainedModel) and model.source.folder:
        sources.append(Path(model.source.folder))
    for source in sources:
        if (source / "config.json").is_file():
            config = json.loads((source / "config.json").read_text(encoding="utf-8"))
            return config.get("text_config", config)
    return {}
