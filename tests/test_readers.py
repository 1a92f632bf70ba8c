"""Foreign files, damaged at random: what was read can be kept, or one sentence says where and what; nothing else."""

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isogloss
import readers
import readers_of_folders
import readers_of_resources
import readers_of_saes
import readers_of_translators
from isogloss.errors import IsoglossError

READERS = (
    readers.READERS
    | readers_of_resources.READERS
    | readers_of_folders.READERS
    | readers_of_saes.READERS
    | readers_of_translators.READERS
)

# The same inputs every time, whatever the machine: no clock, no database, no seed of the day.
FEW = settings(max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SOURCES = Path(isogloss.__file__).parent / "sources"


def hold(name: str, number: int, folder: Path) -> None:
    """Read the damaged file `number`; raises unless it gives values that tables can hold, or a sentence."""
    reader = READERS[name]
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.damaged(Random(number)))
    try:
        for value in reader.read(folder):
            if isinstance(value, str):
                assert value.encode().decode() == value
            else:
                assert value is None or abs(value) < float("inf")
    except IsoglossError as error:
        sentence(str(error), folder, path.name)


def sentence(text: str, folder: Path, name: str) -> None:
    """One line, or one for each mistake in a study; each says where, and can be printed."""
    head, *lines = text.splitlines()
    for line in lines or [head]:
        assert len(line.encode()) < 2000
        assert line.replace("\u200c", "").isprintable() or not re.search("[\x00-\x1f\x7f\u202e\ud800-\udfff]", line)
        assert str(folder) in line or name in line
    assert not lines or re.search("mistake", head)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_values_or_a_sentence(name: str, folder: Path):
    few = FEW if name in readers.READERS else settings(FEW, max_examples=10)  # whole folders take longer
    few(given(st.integers(0, 2**32))(lambda number: hold(name, number, folder / name)))()


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_damaged_files(name: str, folder: Path):
    many = settings(FEW, max_examples=10_000)
    many(given(st.integers(0, 2**32))(lambda number: hold(name, number, folder / name)))()


def test_no_reader_catches_everything():
    caught = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if re.search(r"except( \(?(Base)?Exception\b.*)?:", path.read_text(encoding="utf-8"))
    }
    assert not caught
