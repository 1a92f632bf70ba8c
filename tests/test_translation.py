import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from sacrebleu import sentence_chrf

from config_sections import grouped
from isogloss.config.pretrained import Source
from isogloss.config.translation import Translation as Settings
from isogloss.errors import IsoglossError
from isogloss.phrases import translation, translators
from isogloss.phrases.translation import STATUSES, TRANSLATIONS, translate
from isogloss.phrases.translators import Translation
from isogloss.sources.translator import fetch_multilingual
from isogloss.tables import TableWriter, open_table, read_table, table_metadata, write_table
from marian import TEXTS, tiny_marian, written
from multilingual import SAID, tiny_madlad, tiny_nllb

PHRASES = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "text": pa.string(),
        "ids": pa.list_(pa.int32()),
        "segments": pa.list_(pa.string()),
    }
)


def phrase_table(path, layer, texts, ids=None, segments=None):
    with TableWriter(path, PHRASES) as writer:
        writer.write(
            pl.DataFrame(
                {
                    "phrase": [layer * 2**32 + number for number in range(len(texts))],
                    "layer": [layer] * len(texts),
                    "feature": [7 * number for number in range(len(texts))],
                    "text": texts,
                    "ids": ids or [None] * len(texts),
                    "segments": segments or [[]] * len(texts),
                },
                schema_overrides={"ids": pl.List(pl.Int32), "segments": pl.List(pl.String)},
            )
        )
    return str(path)


def run(folder, phrases, *, lang="ml", layers=(0, 1), **settings):
    arguments = {
        "source_lang": "en",
        "backend": "opus-mt",
        "segments": None,
        "translator": None,
        "back_translator": None,
        "target": None,
        "back_target": None,
        "engine": "transformers",
        "compute_type": "float32",
        "beam_size": 1,
        "minimum_chrf": None,
        "metadata": {"study": "x", "code": "c"},
    }
    output = folder / "translations" / f"{lang}.parquet"
    arguments |= {"state_folder": str(folder / "state" / lang), "output": str(output), **settings}
    translate(phrases=phrases, layers=list(layers), lang=lang, **grouped(arguments, settings=Settings))
    return output


@pytest.fixture
def parallel(tmp_path):
    """Phrases of two layers that consist of segments, as the toy's."""
    rows = {0: [["b", "a"], ["c"]], 1: [["a"]]}
    return [
        phrase_table(tmp_path / f"{layer}.parquet", layer, [" ".join(row) for row in segments], segments=segments)
        for layer, segments in rows.items()
    ]


def from_memory(folder, phrases, texts, **more):
    write_table(folder / "memory.parquet", pl.DataFrame({"segment": list(texts), "text": list(texts.values())}))
    return run(folder, phrases, backend="parallel", segments=str(folder / "memory.parquet"), **more)


MEMORY = {"a": "ഒന്ന്", "b": "രണ്ട്", "c": "മൂന്ന്"}


def test_segments_are_looked_up_and_joined_in_order(parallel, tmp_path):
    output = from_memory(tmp_path, parallel, MEMORY)
    assert read_table(output).rows() == [
        (0, 0, 0, "രണ്ട് ഒന്ന്", None, "ok", None),
        (1, 0, 7, "മൂന്ന്", None, "ok", None),
        (2**32, 1, 0, "ഒന്ന്", None, "ok", None),
    ]
    assert open_table(output).schema_arrow.remove_metadata() == TRANSLATIONS
    counts = dict.fromkeys(STATUSES, 0) | {"ok": 3}
    about = {"lang": "ml", "source_lang": "en", "backend": "parallel", "counts": counts}
    assert table_metadata(output) == {"study": "x", "code": "c", **about}


def test_segments_are_joined_as_the_language_is_spaced(parallel, tmp_path):
    output = from_memory(tmp_path, parallel, {"a": "巴黎。", "b": "法国。", "c": "欧元。"}, lang="zh", space="")
    assert read_table(output)["text"].to_list() == ["法国。巴黎。", "欧元。", "巴黎。"]


def test_only_the_layers_of_the_block_are_translated(parallel, tmp_path):
    assert read_table(from_memory(tmp_path, parallel, {"a": "1"}, layers=[1]))["text"].to_list() == ["1"]
    with pytest.raises(IsoglossError, match=r"no phrases of layers \[5\]"):
        from_memory(tmp_path, parallel, {"a": "1"}, layers=[5])


def test_chunks_run_over_the_tables_and_become_row_groups(parallel, tmp_path, monkeypatch):
    whole = read_table(from_memory(tmp_path, parallel, MEMORY))
    monkeypatch.setattr(translation, "_CHUNK", 2)
    output = from_memory(tmp_path, parallel, MEMORY)
    assert read_table(output).equals(whole)
    assert [open_table(output).metadata.row_group(n).num_rows for n in range(2)] == [2, 1]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "1", "b": "2"}, r"memory\.parquet: segment 'c' is missing in language ml"),
        ({"a": "1", "b": "2", "c": " "}, r"memory\.parquet: segment 'c' has an empty text in language ml"),
    ],
)
def test_gaps_in_the_memory_are_named_and_nothing_is_written(parallel, tmp_path, texts, message):
    with pytest.raises(IsoglossError, match=message):
        from_memory(tmp_path, parallel, texts)
    assert not (tmp_path / "translations" / "ml.parquet").exists()


def test_a_segment_that_is_there_twice_is_an_error(tmp_path):
    write_table(tmp_path / "twice.parquet", pl.DataFrame({"segment": ["a", "a"], "text": ["1", "2"]}))
    with pytest.raises(IsoglossError, match="'a' is there twice"):
        translators.read_segments(str(tmp_path / "twice.parquet"))


@pytest.mark.parametrize("backend", ["parallel", "opus-mt"])
def test_the_reference_language_keeps_text_and_ids_whatever_the_backend(tmp_path, backend):
    phrases = [phrase_table(tmp_path / "0.parquet", 0, ["\n", "b c"], ids=[[4], [5, 6]])]
    rows = read_table(run(tmp_path, phrases, lang="en", backend=backend)).rows()
    assert rows == [(0, 0, 0, "\n", [4], "ok", None), (1, 0, 7, "b c", [5, 6], "ok", None)]


@pytest.mark.parametrize(("backend", "lacking"), [("parallel", "segments"), ("opus-mt", "translator")])
def test_what_a_backend_needs_and_is_not_given_is_named(parallel, tmp_path, backend, lacking):
    with pytest.raises(IsoglossError, match=f"language ml: no {lacking} given"):
        run(tmp_path, parallel, backend=backend)


def test_both_tables_of_a_model_and_its_way_back_are_translated_and_scored(tmp_path):
    texts = [*TEXTS[:3], "Hindi भारत", "(Q)" * 171, "भारत", TEXTS[0]]
    phrases = [phrase_table(tmp_path / "0.parquet", 0, texts), phrase_table(tmp_path / "1.parquet", 1, texts[:2])]
    there = tiny_marian(tmp_path / "to", target_lang="ru")
    (there / "fetched.json").write_text(json.dumps({"id": "a/to", "revision": "c0ffee", "files": {}}))
    back = tiny_marian(tmp_path / "from", source_lang="ru", target_lang="en")
    output = run(tmp_path, phrases, lang="ru", translator=str(there), back_translator=str(back))
    table = read_table(output)
    expected = [
        *((written(text, "ru"), "ok", 100.0) for text in TEXTS[:3]),
        (written("Hindi", "ru"), "ok", sentence_chrf("Hindi", [texts[3]]).score),
        (None, "too_long", None),
        (None, "empty", None),
        *((written(text, "ru"), "ok", 100.0) for text in (TEXTS[0], *TEXTS[:2])),
    ]
    assert table.select("text", "status").rows() == [row[:2] for row in expected]
    assert table["chrf"].to_list() == pytest.approx([row[2] for row in expected], nan_ok=True)
    assert table["phrase"].to_list() == [*range(7), 2**32, 2**32 + 1]
    facts = table_metadata(output)
    assert facts["counts"] == {"ok": 7, "empty": 1, "runaway": 0, "too_long": 1, "low_chrf": 0}
    assert facts["translator"] == {"id": "a/to", "revision": "c0ffee", "licence": None}
    assert facts["back_translator"] == {"id": None, "revision": None, "licence": None}
    assert (facts["engine"], facts["compute_type"], facts["beam_size"]) == ("transformers", "float32", 1)
    assert not (tmp_path / "state" / "ru").exists()

    rows = read_table(
        run(tmp_path, phrases, lang="ru", translator=str(there), back_translator=str(back), minimum_chrf=99.0)
    )
    assert rows["status"].to_list() == ["ok", "ok", "ok", "low_chrf", "too_long", "empty", "ok", "ok", "ok"]
    assert rows["text"].is_null().to_list() == [status != "ok" for status in rows["status"]]
    assert rows["chrf"].equals(table["chrf"])


def test_the_target_code_is_handed_on(tmp_path):
    phrases = [phrase_table(tmp_path / "0.parquet", 0, ["Hindi"])]
    folder = tiny_marian(tmp_path / "to", target_lang="zh", targets=["cmn_Hans", "yue"])
    output = run(tmp_path, phrases, lang="zh", translator=str(folder), target="cmn_Hans")
    assert read_table(output)["text"].to_list() == ["cmn_Hans " + written("Hindi", "zh")]


def test_a_model_that_never_ends_is_an_error_with_counts_and_an_example(tmp_path):
    phrases = [phrase_table(tmp_path / "0.parquet", 0, ["The currency of Austria", " "])]
    folder = tiny_marian(tmp_path / "to", target_lang="es", ends=False)
    message = (
        r"2 of the first 2 translations into es are unusable \(1 runaway, 1 empty\), phrase 0 'The currency of Austria'"
        r" became 'Xjm .*…', for one; check id, revision and target of translation\.models\.es"
    )
    with pytest.raises(IsoglossError, match=message) as error:
        run(tmp_path, phrases, lang="es", translator=str(folder))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "translations").exists()


def test_scores_that_are_all_too_low_point_to_the_minimum(tmp_path):
    phrases = [phrase_table(tmp_path / "0.parquet", 0, ["Hindi भारत", "Q भारत"])]
    folders = {
        "translator": str(tiny_marian(tmp_path / "to", target_lang="es")),
        "back_translator": str(tiny_marian(tmp_path / "from", source_lang="es", target_lang="en")),
    }
    with pytest.raises(IsoglossError, match=r"\(2 low_chrf\).* lower translation\.minimum_chrf"):
        run(tmp_path, phrases, lang="es", minimum_chrf=99.0, **folders)


class Counting:
    """A backend that keeps a record, and stops when told to."""

    def __init__(self, identity="x", stop_at=None):
        self.facts, self.identity, self.seen, self.stop_at = {"engine": "none"}, [identity], [], stop_at

    def translate(self, phrases, advance):
        if self.stop_at in [phrase.phrase for phrase in phrases]:
            raise KeyboardInterrupt
        self.seen += [phrase.phrase for phrase in phrases]
        return [
            Translation("", "runaway") if phrase.phrase == 3 else Translation(phrase.text.upper()) for phrase in phrases
        ]


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """Ten phrases in chunks of three, and a way to translate them that says what was asked of it."""
    phrases = [phrase_table(tmp_path / "0.parquet", 0, [f"text {number}" for number in range(10)])]
    monkeypatch.setattr(translation, "_CHUNK", 3)

    def go(backend, **more):
        monkeypatch.setattr(translation, "TranslationMemory", lambda lang, segments, space: backend)
        output = run(tmp_path, phrases, backend="parallel", segments="", **more)
        return Path(output).read_bytes(), backend.seen

    return go


def test_a_killed_job_goes_on_with_the_next_chunk_and_writes_the_same_bytes(counting, tmp_path):
    whole, _ = counting(Counting())
    with pytest.raises(KeyboardInterrupt):
        counting(Counting(stop_at=7))
    resumed, seen = counting(Counting())
    assert resumed == whole
    assert seen == [6, 7, 8, 9]
    assert not (tmp_path / "state" / "ml").exists()


@pytest.mark.parametrize("change", ["identity", "code", "phrases", "damaged"])
def test_chunks_of_other_settings_code_or_phrases_are_made_again(counting, tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        counting(Counting(stop_at=7))
    more, identity, expected = {}, "x", list(range(10))
    if change == "identity":
        identity = "y"
    elif change == "code":
        more["metadata"] = {"code": "d"}
    elif change == "phrases":
        phrase_table(tmp_path / "0.parquet", 0, [f"text {number}{'!' * (number == 4)}" for number in range(10)])
        expected = list(range(3, 10))
    else:
        (tmp_path / "state" / "ml" / "part_000000.parquet").write_bytes(b"PAR1")
        expected = [0, 1, 2, *range(6, 10)]
    _, seen = counting(Counting(identity), **more)
    assert seen == expected


def test_a_text_that_several_phrases_have_is_translated_once(tmp_path, monkeypatch):
    from isogloss.sources.translation_model import TranslationModel

    asked, plain = [], TranslationModel.translate
    monkeypatch.setattr(
        TranslationModel, "translate", lambda self, texts, *more: asked.extend(texts) or plain(self, texts, *more)
    )
    phrases = [phrase_table(tmp_path / "0.parquet", 0, ["Hindi", "Euro", "Hindi", "Hindi"])]
    output = run(tmp_path, phrases, lang="es", translator=str(tiny_marian(tmp_path / "to", target_lang="es")))
    assert asked == ["Hindi", "Euro"]
    assert read_table(output)["text"].to_list() == [written(text, "es") for text in ("Hindi", "Euro", "Hindi", "Hindi")]


def test_another_weight_file_is_another_model(tmp_path):
    folder = tiny_marian(tmp_path, target_lang="es")
    before = translators._files(str(folder))
    assert translators._files(str(folder)) == before
    (folder / "fetched.json").write_text('{"id": "a/b"}')
    fetched = translators._files(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    assert len({json.dumps(files) for files in (before, fetched, translators._files(str(folder)))}) == 3


@pytest.mark.parametrize("backend", ["nllb", "madlad"])
def test_one_model_of_all_languages_translates_and_scores_its_own_way_back(tmp_path, backend):
    texts = [*TEXTS[:3], "Hindi भारत", "(Q)" * 171, "भारत", TEXTS[0], " "]
    phrases = [phrase_table(tmp_path / "0.parquet", 0, texts)]
    folder = tmp_path / "model"
    pair = {"source": "eng_Latn", "target": "hin_Deva"} if backend == "nllb" else {"source": "en", "target": "hi"}
    source = Source(folder=str((tiny_nllb if backend == "nllb" else tiny_madlad)(tmp_path / "upstream")))
    fetch_multilingual(source=source, backend=backend, engine="ctranslate2", compute_type="float32", output=str(folder))
    (tmp_path / "hi.json").write_text(json.dumps(pair))
    work = {"lang": "hi", "layers": [0], "backend": backend, "translator": str(folder), "engine": "ctranslate2"}
    work |= {"language_codes": str(tmp_path / "hi.json"), "round_trip": True}
    output = run(tmp_path, phrases, **work)
    rows = read_table(output)
    letters = backend == "nllb"
    assert rows["status"].to_list() == ["ok"] * 4 + ["too_long", "empty" if letters else "ok", "ok", "empty"]
    back = ["", "", "", "Hindi", "", "", "", ""] if letters else [SAID] * 8
    columns = (rows[name] for name in ("text", "status", "chrf"))
    for text, translated, status, chrf, returned in zip(texts, *columns, back, strict=True):
        if status != "ok":
            assert (translated, chrf) == (None, None)
        else:
            assert translated == (written(text, "es").replace("भारत", "") if letters else SAID)
            assert chrf == pytest.approx(sentence_chrf(returned or text, [text]).score, abs=1e-3)
    facts = table_metadata(output)
    assert facts["translator"] == facts["back_translator"]
    assert facts["translator"]["licence"] == ("cc-by-nc-4.0" if letters else "apache-2.0")
    assert (facts["source"], facts["target"], facts["back_target"]) == (pair["source"], pair["target"], pair["source"])

    lone = run(tmp_path, phrases, **work | {"round_trip": False})
    assert read_table(lone)["text"].equals(rows["text"])
    assert read_table(lone)["chrf"].null_count() == len(texts)
    assert table_metadata(lone)["back_translator"] is None
    with pytest.raises(IsoglossError, match="language hi: no language_codes given"):
        run(tmp_path, phrases, **work | {"language_codes": None})
