import shutil
from pathlib import Path

import pytest

from isogloss import provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "isogloss"
    shutil.copytree(provenance.PACKAGE, copy)
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    return copy


def digest(*modules: str) -> str:
    provenance.code_digest.cache_clear()
    provenance._module.cache_clear()
    return provenance.code_digest(*modules)


def test_edits_count_transitively_and_comments_do_not(package: Path):
    before = digest("isogloss.models.hooks")
    languages = digest("isogloss.languages")
    module = package / "models" / "architecture.py"  # imported by models.hooks
    source = module.read_text()
    module.write_text("# a comment\n" + source.replace('"""The one place', '"""The only place'))
    assert digest("isogloss.models.hooks") == before
    module.write_text(source + "\nADDED = 1\n")
    assert digest("isogloss.models.hooks") != before
    assert digest("isogloss.languages") == languages


def test_relative_order_of_modules_does_not_matter():
    assert digest("isogloss.tables", "isogloss.config") == digest("isogloss.config", "isogloss.tables")
