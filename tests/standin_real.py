"""A stand-in of the folder of `make real`, and of what it fetches without one: a tiny model, five languages."""

import json
from pathlib import Path

import polars as pl

from isogloss.languages import language
from standin_any_study import sentences
from standin_latent import write_belebele
from standin_study import save_gemma

LANGUAGES = ("en", "es", "ru", "zh", "hi")
QUESTIONS = 60
SEGMENTS = 400


def build(folder: Path) -> Path:
    """Make below `folder`: model, segments, documents and belebele, as config/README.md describes them."""
    texts = {lang: sentences(lang, 3000) for lang in LANGUAGES}
    save_gemma(folder / "model", texts["en"][:100], LANGUAGES, layers=14, d_model=32, seed=0)
    for lang, lines in texts.items():
        segments = [{"segment": f"p{at}", "text": line} for at, line in enumerate(lines[:SEGMENTS])]
        documents = [{"text": " ".join(lines[at : at + 6])} for at in range(0, len(lines), 6)]
        for part, rows in (("segments", segments), ("documents", documents)):
            (folder / part).mkdir(exist_ok=True)
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / part / f"{lang}.jsonl").write_text(content, encoding="utf-8")
    write_belebele(folder / "belebele", LANGUAGES, QUESTIONS)
    return folder


def xquad(folder: Path, paragraphs: int = 20, questions: int = 5) -> Path:
    """google/xquad: xquad.{lang}/validation-00000-of-00001.parquet; a paragraph stands with each of its questions."""
    for lang in LANGUAGES:
        lines = sentences(lang)
        rows = [
            {
                "id": f"{paragraph:08x}{number:016x}",
                "context": " ".join(lines[paragraph * 10 : paragraph * 10 + 6]),
                "question": lines[700 + paragraph * questions + number],
                "answers": {"text": [lines[paragraph * 10][:9]], "answer_start": [0]},
            }
            for paragraph in range(paragraphs)
            for number in range(questions)
        ]
        path = folder / f"xquad.{lang}" / "validation-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        answers = pl.Struct({"text": pl.List(pl.String), "answer_start": pl.List(pl.Int32)})
        pl.DataFrame(rows, schema_overrides={"answers": answers}).write_parquet(path)
    return folder


def flores(lang: str) -> str:
    """The name of a language in Belebele."""
    code = language(lang).flores
    assert code
    return code
