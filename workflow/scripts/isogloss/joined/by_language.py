"""What each analysis says of a language, brought together by layer and language."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from isogloss.joined.instruments import ANALYSES, INSTRUMENTS
from isogloss.tables import iter_table, open_table, read_table

_KEY = {"layer": pl.Int32, "lang": pl.String}
_MIXED = "mixed"


class Joined(NamedTuple):
    """The columns of `joined` that are measured, and why others are null."""

    frame: pl.DataFrame  # layer (null: mean over layers), lang and a column a measure
    lacking: dict[str, str]  # why a column is null everywhere, by column
    tokens_of: str | None  # the texts whose tokens the ratio compares


def join_by_language(
    tables: Mapping[str, str], scores: Mapping[str, str], langs: Sequence[str], reference: str
) -> Joined:
    """Join a model's final `tables` (paths by name); `scores` are paper B's tables of a task by language.

    Columns, null where not measured:

    - the instruments (`joined.instruments`) of the layer. In the row without a layer they are means over the layers
      that have a value in every language that has one anywhere, the reference left out; means over tasks first;
    - mixed_share: of the features of the last step that are of the language or mixed and fire in it, the share that
      are mixed;
    - steering_gain: what the language's own vector adds to accuracy (share) at the setting that is best on the mean
      over languages, in the row of a layer the best of that layer: chosen on the questions that it is judged on;
    - accuracy: mean over the tasks that every language has which has any, of the benchmarks or, without them, of paper
      B's answers; positive_transfer: mean into the language over tasks and languages;
    - token_ratio: tokens of a phrase as a multiple of the reference's, mean over phrases and layers; where no phrases
      were measured, tokens of the answers in the language over those of the same answers in the reference.
    """
    lacking: dict[str, str] = {}
    layered: list[pl.DataFrame] = []
    for instrument in INSTRUMENTS:
        column = instrument.column
        if instrument.table not in tables:
            lacking[column] = _unmeasured(instrument.table, tables)
            continue
        values = _instrument(column, instrument.table, tables)
        if instrument.table != "steering":
            values = pl.concat([values, _over_layers(values, reference)])
        if not values["value"].count():
            lacking[column] = f"undefined in every layer and language ({instrument.table})"
        elif not values.filter(pl.col("layer").is_null())["value"].count():
            lacking[column] = f"no layer where it is defined in every language ({instrument.table})"
        layered.append(values.rename({"value": column}))
    layers = sorted({layer for values in layered for layer in values["layer"].drop_nulls()})
    frame = pl.DataFrame([(layer, lang) for layer in (None, *layers) for lang in langs], schema=_KEY, orient="row")
    for values in layered:
        frame = frame.join(values, on=[*_KEY], how="left", nulls_equal=True, maintain_order="left")
    missing = [one.column for one in INSTRUMENTS if one.column not in frame.columns]
    frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)
    behaviour, tokens_of = _behaviour(tables, scores, reference, lacking)
    for values in behaviour:
        frame = frame.join(values, on="lang", how="left", maintain_order="left")
    return Joined(frame, lacking, tokens_of)


def _unmeasured(table: str, tables: Mapping[str, str]) -> str:
    if table == "steering" and "latent" in tables:
        return "not measured: nothing is steered (latent.steering)"
    return f"not measured: {ANALYSES[table]}"


def _instrument(column: str, table: str, tables: Mapping[str, str]) -> pl.DataFrame:
    """An instrument's defined values: layer, lang, value; of steering also the best setting's, without a layer."""
    if table == "features":
        return _mixed_share(tables[table])
    frame = read_table(tables[table])
    if table == "steering":
        return _steering_gain(frame)
    value = pl.col(column).cast(pl.Float64).fill_nan(None).alias("value")
    return _mean_over(frame.select(pl.col("layer").cast(pl.Int32), "lang", value).drop_nulls(), ["layer", "lang"])


def _mean_over(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    return frame.group_by(*by, maintain_order=True).agg(pl.col("value").mean())


def _over_layers(values: pl.DataFrame, reference: str) -> pl.DataFrame:
    """The mean over the layers that have all of the languages but the reference, which the table has at all."""
    others = values.filter(pl.col("lang") != reference)
    counts = others.group_by("layer").agg(pl.len())
    whole = counts.filter(pl.col("len") == others["lang"].n_unique())["layer"].to_list()
    means = _mean_over(values.filter(pl.col("layer").is_in(whole)).sort("layer"), ["lang"])
    return means.select(pl.lit(None, pl.Int32).alias("layer"), "lang", "value")


def _mixed_share(path: str) -> pl.DataFrame:
    """By layer and language, at the last step: the mixed ones of the features that are partly the language's."""
    shares = [name for name in open_table(path).schema_arrow.names if name.startswith("p_")]
    last = max(max(part["step"]) for part in iter_table(path, ["step"]))
    counts: dict[tuple[int, str], list[int]] = {}
    for part in iter_table(path, ["step", "layer", "class", *shares]):
        for column in shares:
            lang = column.removeprefix("p_")
            of_lang = part.filter(
                pl.col("step") == last,
                (pl.col("class") == lang) | ((pl.col("class") == _MIXED) & (pl.col(column) > 0)),
            )
            for layer, mixed, total in (
                of_lang.group_by("layer").agg((pl.col("class") == _MIXED).sum(), total=pl.len()).iter_rows()
            ):
                so_far = counts.setdefault((layer, lang), [0, 0])
                so_far[0] += mixed
                so_far[1] += total
    rows = [(layer, lang, mixed / total) for (layer, lang), (mixed, total) in sorted(counts.items())]
    return pl.DataFrame(rows, schema={**_KEY, "value": pl.Float64}, orient="row")


def _steering_gain(steering: pl.DataFrame) -> pl.DataFrame:
    own = steering.filter(vector="own").drop_nulls("accuracy_change")
    own = own.select("task", "lang", pl.col("layer").cast(pl.Int32), "gamma", value="accuracy_change")
    setting = ["task", "layer", "gamma"]
    ranked = (
        _mean_over(own, setting)
        .sort("task", -pl.col("value"), pl.col("gamma").abs(), "layer")
        .with_columns(of_layer=pl.int_range(pl.len()).over("task", "layer"), best=pl.int_range(pl.len()).over("task"))
        .drop("value")
    )
    rows = own.join(ranked, on=setting, maintain_order="left")
    by_layer = _mean_over(rows.filter(of_layer=0).sort("layer", maintain_order=True), ["layer", "lang"])
    best = _mean_over(rows.filter(best=0), ["lang"]).select(pl.lit(None, pl.Int32).alias("layer"), "lang", "value")
    return pl.concat([by_layer, best])


def _behaviour(
    tables: Mapping[str, str], scores: Mapping[str, str], reference: str, lacking: dict[str, str]
) -> tuple[list[pl.DataFrame], str | None]:
    """Frames of lang and a column each: accuracy with its number of tasks, transfer, tokens; and whose tokens."""
    answered = "accuracy" if "accuracy" in tables else "answers"
    accuracy = pl.DataFrame(schema={"lang": pl.String, "accuracy": pl.Float64, "n_tasks": pl.Int32})
    if answered in tables:
        accuracy = _accuracy(read_table(tables[answered]))
    if not accuracy.height:
        lacking["accuracy"] = "no task is in every language" if answered in tables else "not measured: benchmarks"
    transfer = pl.DataFrame(schema={"lang": pl.String, "positive_transfer": pl.Float64})
    if "transfer" in tables:
        into = read_table(tables["transfer"]).select(lang="lang_b", value="positive_transfer").drop_nulls()
        transfer = _mean_over(into, ["lang"]).rename({"value": "positive_transfer"})
    if not transfer.height:
        lacking["positive_transfer"] = "undefined in every language" if "transfer" in tables else "not measured: latent"
    tokens, tokens_of = pl.DataFrame(schema={"lang": pl.String, "token_ratio": pl.Float64}), None
    if "activation_controls" in tables:
        counted = read_table(tables["activation_controls"], ["lang", "token_ratio"]).rename({"token_ratio": "value"})
        tokens, tokens_of = _mean_over(counted.drop_nulls(), ["lang"]).rename({"value": "token_ratio"}), "phrases"
    elif scores:
        tokens, tokens_of = _answer_tokens(scores, reference), "answers"
    if not tokens.height:
        lacking["token_ratio"] = "no tokens of parallel texts are counted: gap or latent"
    return [accuracy, transfer, tokens], tokens_of


def _accuracy(frame: pl.DataFrame) -> pl.DataFrame:
    if "adapter" in frame.columns:
        frame = frame.filter(pl.col("adapter") == "base")
    frame = frame.select("task", "lang", "accuracy").drop_nulls()
    spread = frame.group_by("task").agg(pl.col("lang").n_unique())
    common = spread.filter(pl.col("lang") == frame["lang"].n_unique())["task"].to_list()
    rows = frame.filter(pl.col("task").is_in(common))
    return rows.group_by("lang", maintain_order=True).agg(
        pl.col("accuracy").mean(), n_tasks=pl.len().cast(pl.Int32)
    )  # fmt: skip


def _answer_tokens(scores: Mapping[str, str], reference: str) -> pl.DataFrame:
    """By language: tokens of all answers over those of the same answers in the reference."""
    totals: dict[str, list[int]] = {}
    for path, lang in scores.items():
        so_far = totals.setdefault(lang, [0, 0])
        first: int | None = None  # every layer has the same answers
        for part in iter_table(path, ["layer", "native_tokens", "reference_tokens"]):
            first = part["layer"][0] if first is None else first
            of_layer = part.filter(pl.col("layer") == first)
            for place, name in enumerate(("native_tokens", "reference_tokens")):
                so_far[place] += int(of_layer[name].list.sum().sum())
    rows = [(lang, native / of) for lang, (native, of) in totals.items() if of and lang != reference]
    return pl.DataFrame([*rows, (reference, 1.0)], schema={"lang": pl.String, "token_ratio": pl.Float64}, orient="row")
