"""The texts that codes are taken of: the same in every language, drawn by what they read in the reference."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

from isogloss.errors import IsoglossError
from isogloss.residuals.retrieval import text_keys
from isogloss.tables import iter_tables, open_table

Kind = Literal["segments", "phrases"]
_NAMES = {"segments": "segment", "phrases": "phrase"}  # the column that names a text, the same in every language


class Text(NamedTuple):
    """What a model reads."""

    text: str
    ids: list[int] | None  # of a phrase that was cut out of a longer text: its tokens, BOS left out


class Pool(NamedTuple):
    """Texts that every language has, no two of them alike or of one fact, numbered in the order of the reference."""

    kind: Kind
    names: list[Any]  # the segment or the phrase that each is
    others: list[Any]  # another wording of the same fact in the reference, by its name; None where there is none
    lacking: dict[str, int]  # of the reference's texts those that each language lacks
    alike: int  # texts left out because their text, or their fact, is in the pool already

    @classmethod
    def sample(cls, tables: Mapping[str, Sequence[str]], kind: Kind, *, reference: str, most: int, seed: int) -> "Pool":
        """At most `most` texts, those with the lowest `text_keys` of what they read in the reference.

        `tables` are, by language, tables of segments (columns segment and text, in the toy world fact, too) or of
        translated phrases (phrase, text, ids). A text that is null or blank in any language is left out and counted.
        While texts are chosen memory holds some tens of bytes for each of the reference's.

        Raises `IsoglossError` if no text is left, naming the language that lacks most.
        """
        name = _NAMES[kind]
        facts = kind == "segments" and "fact" in open_table(tables[reference][0]).schema_arrow.names
        columns = [name, "text", "fact"] if facts else [name, "text"]
        parts = [
            rows.select(pl.col(name).alias("name"), about="fact" if facts else name).with_columns(
                pl.Series("key", text_keys(rows["text"], seed))
            )
            for rows in _with_text(tables[reference], columns)
        ]
        if not parts:
            raise IsoglossError(f"{tables[reference][0]}: no {kind} in {reference}, the reference; give it some text")
        every = pl.concat(parts).with_row_index("row")
        shared, lacking = every, {}
        for lang, paths in tables.items():
            present = [rows.select(pl.col(name).alias("name")) for rows in _with_text(paths, [name, "text"])]
            there = pl.concat(present) if present else every.select("name").clear()
            lacking[lang] = len(every.join(there, on="name", how="anti"))
            shared = shared.join(there, on="name", how="semi")
        if not len(shared):
            worst = max(lacking, key=lambda lang: lacking[lang])
            raise IsoglossError(
                f"{tables[worst][0]}: none of the {kind} has a text in every language, {worst} lacks"
                f" {lacking[worst]} of {len(every)}; give it the same {kind}, or leave the language out"
            )
        distinct = shared.sort("key", "row").unique("key", keep="first", maintain_order=True)
        distinct = distinct.unique("about", keep="first", maintain_order=True)
        chosen = distinct.head(most).sort("row")
        own = chosen.select("about", own="name", own_key="key")
        another = every.join(own, on="about").filter(
            pl.col("name") != pl.col("own"), pl.col("key") != pl.col("own_key")
        )
        wording = dict(another.sort("row", descending=True).select("own", "name").iter_rows())  # the first stays
        names = chosen["name"].to_list()
        return cls(kind, names, [wording.get(one) for one in names], lacking, len(shared) - len(distinct))

    def read(self, paths: Sequence[str], names: Sequence[Any]) -> list[Text]:
        """The texts of a language in its tables by their names, in that order.

        Raises `IsoglossError` for a name that is there twice, or not at all.
        """
        name = _NAMES[self.kind]
        wanted = pl.DataFrame({name: names})
        texts: dict[Any, Text] = {}
        columns = [name, "text", "ids"] if self.kind == "phrases" else [name, "text"]
        for rows in _with_text(paths, columns):
            for one, *text in rows.join(wanted, on=name, how="semi", maintain_order="left").select(columns).iter_rows():
                if one in texts:
                    raise IsoglossError(
                        f"{', '.join(paths)}: {name} {one!r} is there twice; a {name} has one text a language"
                    )
                texts[one] = Text(text[0], text[1] if len(text) > 1 else None)
        if absent := [one for one in names if one not in texts]:
            raise IsoglossError(f"{', '.join(paths)}: no {name} {absent[0]!r}; delete the file and run snakemake again")
        return [texts[one] for one in names]


def _with_text(paths: Sequence[str], columns: list[str]) -> Iterator[pl.DataFrame]:
    """The rows whose text is neither null nor blank, in bounded batches, none of them empty."""
    for rows in iter_tables(paths, columns):
        if len(there := rows.filter(pl.col("text").str.strip_chars() != "")):
            yield there
