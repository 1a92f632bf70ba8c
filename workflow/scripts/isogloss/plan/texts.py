"""How many phrases a model has and how many tokens: counted in the results where they lie, assumed elsewhere."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from isogloss.config import Study
from isogloss.config.model import AnalysedModel
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan.assumptions import Settings
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


NONE = Texts(0, 0, 0)
Corpus = Mapping[tuple[int, str], Texts]  # by layer and language


def alike(number: float, tokens: float) -> Texts:
    """`number` texts of `tokens` tokens each."""
    return Texts(number, number * tokens, number * (tokens + 1) ** 2)


def together(texts: Iterable[Texts]) -> Texts:
    """All the texts."""
    return Texts(*(sum(values) for values in zip(NONE, *texts, strict=True)))


def sae_shape(model: AnalysedModel) -> tuple[str, int]:
    """Kind and width of a model's SAEs."""
    if isinstance(model, PretrainedModel) and model.saes is not None:
        return model.saes.kind, model.saes.features
    return "topk", model.sae.features if model.sae is not None else 0


def corpus_of(study: Study, name: str, settings: Settings, results: Path) -> tuple[Corpus, list[str]]:
    """The phrases of a model and their translations, with notes on where their numbers come from.

    Tables of the same study that lie in `results` are counted: phrases with their ids in the reference
    language, and activations, which hold every text's number of tokens. What they lack is assumed: phrases
    per feature, 2 window + 1 tokens each, times the language's fertility.
    """
    model, phrases, reference = study.models[name], study.phrases, study.languages.reference
    numbers, lengths = _count_phrases(study, results / name)
    measured = _count_activations(study, results / name)
    per_feature = float(phrases.per_feature)  # a toy's corpus has windows enough
    if isinstance(model, PretrainedModel):
        per_feature = min(settings.phrases_per_feature, per_feature)
    expected = per_feature * math.ceil(sae_shape(model)[1] / phrases.feature_stride)
    corpus = {}
    for layer in model.layer_list:
        number = numbers.get(layer, expected)
        in_reference = lengths.get(layer) or alike(number, 2 * phrases.window + 1)
        for lang in study.languages.all:
            ratio = settings.tokens_per_reference_token(lang, reference)
            guess = alike(number, ratio * in_reference.tokens / number if number else 0.0)
            corpus[layer, lang] = measured.get((layer, lang), in_reference if lang == reference else guess)

    every = "every feature" if phrases.feature_stride == 1 else f"one feature in {phrases.feature_stride}"
    assumed = f"assumed: {per_feature:g} a feature, {every}"
    uncounted = [str(layer) for layer in model.layer_list if layer not in numbers]
    if uncounted and numbers:
        assumed = f"counted, those of layers {', '.join(uncounted)} {assumed}"
    notes = [f"{name}: phrases {assumed if uncounted else 'counted'}"]
    counted = {*measured, *((layer, reference) for layer in lengths)}
    whole = [lang for lang in study.languages.all if all((layer, lang) in counted for layer in model.layer_list)]
    if whole:
        notes.append(f"{name}: tokens counted: {', '.join(whole)}")
    if rest := [lang for lang in study.languages.all if lang not in whole]:
        basis = "as counted" if reference in whole else f"{2 * phrases.window + 1} tokens"
        ratios = {lang: settings.tokens_per_reference_token(lang, reference) for lang in rest if lang != reference}
        times = " ".join(f"{lang}={ratio:.3g}" for lang, ratio in ratios.items())
        notes.append(f"{name}: tokens assumed: a {reference} phrase {basis}, times {times or '1'}")
    return corpus, notes


def _count_phrases(study: Study, folder: Path) -> tuple[dict[int, int], dict[int, Texts]]:
    """Phrases by layer, and the reference's texts by layer where the tables hold their ids."""
    numbers: dict[int, int] = {}
    texts: dict[int, Texts] = {}
    tables = [path for path in sorted((folder / "phrases").glob("*.parquet")) if path.name.count(".") == 1]
    for _, layer, ids in _columns(tables, "ids", study):
        numbers[layer] = numbers.get(layer, 0) + len(ids)
        if not ids.null_count():
            texts[layer] = together([texts.get(layer, NONE), _texts(ids.list.len())])
    return numbers, texts


def _count_activations(study: Study, folder: Path) -> dict[tuple[int, str], Texts]:
    """Texts by layer and language, as the base model's activations counted them."""
    tables = sorted((folder / "activations" / "base").glob("*/*/*.parquet"), key=lambda path: path.stat().st_mtime)
    newest = {(path.parts[-3], path.name): path for path in tables}  # others are left over from other languages_per_job
    texts: dict[tuple[int, str], Texts] = {}
    for path, layer, n_tokens in _columns(newest.values(), "n_tokens", study):
        key = layer, path.stem
        texts[key] = together([texts.get(key, NONE), _texts(n_tokens.drop_nulls())])
    return texts


def _columns(paths: Iterable[Path], column: str, study: Study) -> Iterator[tuple[Path, int, pl.Series]]:
    """Path, layer and column, a part at a time, of those tables that the study made."""
    for path in paths:
        if table_metadata(path).get("study") == study.study:
            for rows in iter_table(path, ["layer", column]):
                for (layer,), group in rows.group_by("layer"):
                    yield path, int(str(layer)), group[column]


def _texts(tokens: pl.Series) -> Texts:
    lengths = tokens.cast(pl.Float64)
    return Texts(len(lengths), float(lengths.sum()), float(((lengths + 1) ** 2).sum()))
