"""`python -m isogloss.new_study MODEL --languages en es hi`: a study file for a model, which `make study` writes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.config.questions import Tasks
from isogloss.errors import IsoglossError
from isogloss.new_study.asked_questions import asked_questions
from isogloss.new_study.described_model import describe_model
from isogloss.new_study.given import key_of
from isogloss.new_study.language_groups import language_groups
from isogloss.new_study.parallel_corpus import parallel_corpus
from isogloss.new_study.published_saes import published_saes, suggestions
from isogloss.new_study.study_page import NewStudy
from isogloss.sources.shapes import kept_shape
from isogloss.sources.task_registry import known_tasks, nearest
from isogloss.tables import atomic_path

FOLDER = Path("config", "studies")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and say what comes next; a mistake ends in its line and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m isogloss.new_study", description=__doc__)
    parser.add_argument("model", help="repository of the Hub, OWNER/NAME, or a folder")
    parser.add_argument("--languages", nargs="+", default=[], help="two or more, by their codes")
    parser.add_argument("--segments", default="", help="folder or repository of parallel text; else FLORES+")
    parser.add_argument("--saes", default="", help="SAELens' name of a release; else SAEs are trained")
    parser.add_argument("--width", default="", help="width of the release's SAEs, 16k say")
    parser.add_argument("--l0", default="", help="L0 of the release's SAEs, medium say, or a number")
    parser.add_argument("--name", default="", help="name of the study; else my- and the model's")
    given = parser.parse_args(arguments)
    languages = [code for text in given.languages for code in text.replace(",", " ").split()]
    try:
        path, study = new_study(given.model, languages, given.segments, given.saes, given.width, given.l0, given.name)
    except IsoglossError as error:
        print(f"isogloss: {error}", file=sys.stderr)
        return 1
    print(f"wrote {path}: layers {', '.join(map(str, study.layers))}, SAEs {_saes(study)}; {' '.join(study.analyses)}")
    for line in study.lacking:
        print(f"  not found: {line}")
    print(f"next: make plan STUDY={path}\n      snakemake -n --configfile {path}")
    return 0


def new_study(
    model: str, languages: Sequence[str], segments: str, saes: str, width: str, l0: str, name: str
) -> tuple[Path, NewStudy]:
    """Write the study file of a model and return where and what it is; "" for what is not given.

    The file appears if it is a whole study. Raises `IsoglossError` for a file that is there already, a name that
    no study can have, `width` or `l0` without `saes`, and what languages, model, SAEs and corpus raise.
    """
    groups = language_groups(languages)
    if not saes and (width or l0):
        raise IsoglossError("WIDTH and L0 are of published SAEs; give SAES=RELEASE too, or leave them out")
    if name and name != key_of(name):
        raise IsoglossError(f"NAME={name}: small Latin letters, digits and - alone; write {key_of(name)}")
    if name:
        _check_new(FOLDER / f"{name}.yaml")
    described = describe_model(model)
    name = name or f"my-{key_of(described.given.title)}"
    path = FOLDER / f"{name}.yaml"
    _check_new(path)
    published = published_saes(saes, described, width, l0) if saes else None
    study = NewStudy(
        model=described,
        languages=groups,
        corpus=parallel_corpus(segments, groups.codes, described.given.on_hub),
        questions=asked_questions(groups.codes, groups.reference),
        saes=published,
        suggested=[] if published else suggestions(described),
    )
    with atomic_path(path) as aside:
        aside.write_text(study.text(name, str(path)), encoding="utf-8")
        load_study(read_file(aside), str(path), kept_shape, Tasks(known_tasks, nearest))
    return path, study


def _check_new(path: Path) -> None:
    if path.exists():
        raise IsoglossError(f"{path}: there already, and left as it is; give another NAME=, or delete it")


def _saes(study: NewStudy) -> str:
    return f"of {study.saes.release}" if study.saes else "trained here"


if __name__ == "__main__":
    sys.exit(main())
