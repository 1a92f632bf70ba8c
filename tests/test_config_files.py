"""Study files that say one thing and mean another, each refused in a line; through Snakemake itself, too."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from isogloss.config import load_study
from isogloss.config.files import check_files, read_file, with_numbers
from isogloss.config.study_file import main
from isogloss.errors import IsoglossError

REPOSITORY = Path(__file__).parents[1]
STUDIES = [*(REPOSITORY / "config").rglob("*.yaml"), *(REPOSITORY / "tests" / "studies").glob("*.yaml")]
MINI = (REPOSITORY / "tests" / "studies" / "mini.yaml").read_text(encoding="utf-8")

LINES = MINI.splitlines()


def line_of(start: str) -> int:
    """The number of the line of the smallest whole study, counted from one, that starts so."""
    return 1 + next(index for index, line in enumerate(LINES) if line.startswith(start))


def changed(old: str, new: str) -> str:
    """The smallest whole study with a part of its text replaced."""
    assert old in MINI
    return MINI.replace(old, new, 1)


def complaint(path: Path) -> str:
    with pytest.raises(IsoglossError) as caught:
        load_study(read_file(path), origin=str(path))
    text = str(caught.value)
    if text.startswith("1 mistake(s) in the configuration\n  "):
        text = text.partition("\n  ")[2]
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_are_read_as_any_yaml_reader_would(path: Path):
    assert read_file(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("hi]", "no]"), r":6: no is read as true or false; write that, or put it in quotes"),
        (changed("{en: 0.6", "{no: 0.6"), r":13: no is read as true or false"),
        (changed("Skewed shares", "yes"), r":12: yes is read as true or false"),
        (changed("Skewed shares", "Off"), r":12: Off is read as true or false"),
        (changed("Skewed shares", "2024-01-01"), r":12: 2024-01-01 is read as a date; put it in quotes"),
        (changed("Skewed shares", "2024-13-45"), r":12: 2024-13-45 is read as a date"),
        (changed("territories: 30", "territories: 1:30"), r":9: 1:30 is read as a number to another base"),
        (changed("territories: 30", "territories: 030"), r":9: 030 is read as a number to another base"),
        (changed("0.6", "1:30.5"), r":13: 1:30\.5 is read as a number to the base 60"),
        (
            MINI + "phrases: {window: 3}\n",
            rf":{len(LINES) + 1}: the key phrases comes twice, first in line {line_of('phrases:')}; keep one",
        ),
        (changed("{en: 0.6", "{en: 0.1, en: 0.6"), r":13: the key en comes twice, first in line 13; keep one"),
        (changed("study: mini", "study: &mini [*mini]"), r":2: an alias of what it stands in; write it out"),
        (changed("study: mini", "? [a]\n: b"), r":2: a list or mapping as a key; write a name"),
        (changed("study: mini", "study: !!python/name:os.system"), r":2: no YAML: could not determine a constructor"),
        (changed("study: mini", "study: [mini"), r"no YAML: "),
        (changed("  reference", "\treference"), r":4: no YAML: .*\\t.*; indent with spaces"),
        (changed("study: mini", "---\nstudy: mini\n---"), r":4: no YAML: .*another document"),
        ("", r"no mapping of keys; a study has study, languages, models"),
        ("# nothing yet\n", r"no mapping of keys"),
        ("- study: mini\n", r"no mapping of keys"),
        ("mini\n", r"no mapping of keys"),
        ("__use_yte__: true\n" + MINI, r"__use_yte__: a study is no template"),
        ('{"study": "mini", "study": "other"}', r"the key 'study' comes twice in one mapping"),
        (changed("reference: en", "reference: pt-br"), r"'pt-br' is written pt-BR"),
        (changed("hi]", "jp]"), r"unknown language 'jp'; did you mean ja\?"),
        (changed("territories: 30", 'territories: "30"'), r"valid integer \(got '30'\); write a whole number, not in"),
        (changed("territories: 30", "territories: 0o36"), r"valid integer \(got '0o36'\)"),
        (changed("territories: 30", "territories: true"), r"valid integer \(got True\)"),
        (changed("territories: 30", "territories: 2.5"), r"valid integer \(got 2\.5\)"),
        (changed("shared: true", "shared: 1"), r"valid boolean \(got 1\); write true or false"),
        (changed("shared: true", 'shared: "yes"'), r"valid boolean \(got 'yes'\)"),
        (changed("[-1.0, 1.0]", '[-1.0, "1.0"]'), r"gammas\.1: Input should be a valid number \(got '1\.0'\)"),
        (changed("[-1.0, 1.0]", "[-1.0, true]"), r"gammas\.1: Input should be a valid number \(got True\)"),
        (changed("[-1.0, 1.0]", "[-1.0, .inf]"), r"gammas\.1: Input should be a finite number \(got inf\)"),
        (changed("0.6", ".nan"), r"shares\.en: Input should be a finite number \(got nan\)"),
        (changed("Skewed shares", "2024"), r"title: Input should be a valid string \(got 2024\); put it in quotes"),
        (changed("Skewed shares", '""'), r"title: String should have at least 1 character"),
        (changed("title:", '"t\\uDC00": 1\n    title:'), r"a key of models\..*: U\+DC00 is half a surrogate pair"),
        (changed("Skewed shares", '"Skewed\u202e shares"'), r"title: .*holds U\+202E, which cannot be seen; leave it"),
        (changed("Skewed shares", '"Skewed\\nshares"'), r"title: .*holds U\+000A"),
        (changed("Skewed shares", "a <script>alert(1)</script>"), r"title: .*holds <script>alert.*, a tag to the page"),
        (changed("Skewed shares", "</script x"), r"title: .*holds </script, a tag"),
        (changed("Skewed shares", "a <!--"), r"title: .*holds <!--, a tag"),
        (changed("study: mini", "study: mini\nseed: 4294967296"), r"seed: Input should be less than 4294967296"),
        (changed("study: mini", f"study: mini\nseed: {10**29}"), r"seed: Input should be less than 4294967296"),
        (changed("study: mini", "study: mini\nseed: -1"), r"seed: Input should be greater than or equal to 0"),
        (changed("compute: {languages_per_job: 2}", "compute: [1]"), r"compute: Input should be .*; write its keys"),
    ],
)
def test_each_mistake_is_one_line_with_file_and_line_or_key(tmp_path: Path, text: str, message: str):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    said = complaint(path)
    assert re.search(message, said)
    assert said.startswith(str(path))


def more(text: str) -> str:
    """The smallest whole study with more keys."""
    return changed("study: mini", f"study: mini\n{text}")


def bomb(depth: int) -> str:
    """A YAML file that holds 8**depth values once its aliases are written out."""
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '1'] * 8)}]" for n in range(depth)]
    return "\n".join([*rows, MINI])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("territories: 30", f"territories: {10**18}0"), r"territories: 1000.*… has 20 digits; numbers end"),
        (changed("territories: 30", f"territories: {'9' * 5000}"), r":9: 9+… is a number of 5000 characters"),
        (changed("layers: 2,", "layers: 100000000,"), r"layers: Input should be less than or equal to 10000"),
        (changed("  skewed:", f"  {'x' * 300}:"), r"models\.'x+\.\.\.x+'.*at most 64 characters"),
        (changed("  skewed:", "  ../skewed:"), r"models\.\.\./skewed.*should match pattern"),
        (changed("  skewed:", "  con/../x:"), r"should match pattern"),
        (changed("  skewed:", '  "a\\0b":'), r"models\.'a\\x00b'.*should match pattern"),
        (changed("    all-l1:", "    ../all:"), r"should match pattern"),
        (changed("  skewed:", "  constructor:"), r"models\.constructor.*'constructor' is what .*; take another name"),
        (changed("    all-l1:", "    constructor:"), r"alignment\.runs\.constructor.*; take another name"),
        (more("documents: {../en: {folder: x}}"), r"documents\S*: unknown language '../en'"),
        (more("documents: {en: {folder: x, files: ../*}}"), r"documents\.en\.files: '../\*' leaves the source's"),
        (more("parallel: {folder: x, files: /etc/*}"), r"parallel\.files: '/etc/\*' leaves the source's folder"),
        (more("parallel: {folder: x, files: a**}"), r"parallel\.files: .*\*\* stands for whole folders"),
        (more(f"parallel: {{folder: {'x' * 300}}}"), r"parallel\.folder: 'x+' can be no folder; give its path"),
        (more('parallel: {folder: "~no-such-user/x"}'), r"parallel\.folder: ~no-such-user is no user's home"),
        (more('parallel: {folder: "a\\0b"}'), r"parallel\.folder: 'a\\x00b' holds U\+0000"),
        (more(f"parallel: {{folder: x, id_column: {'y' * 9999}}}"), r"id_column: a text of 9999 characters"),
        (bomb(9), r"\d+ values once its aliases are written out"),
        (changed("study: mini", "study: " + "[" * 5000 + "]" * 5000), r"within each other too deeply"),
        (more("? 1\n: a\n? '1'\n: b"), r":5: the key 1 comes twice, first in line 3"),
        (changed("study: mini", "study: !!binary aGVsbG8="), r"is read as a bytes; put it in quotes"),
        (more("~: 1"), r"null: unknown key"),
        (more("1: 1"), r" 1: unknown key"),
        ('{"study": "\\ud83d"}', r"study: Input should be a valid string"),
        ('{"study": ' + "[" * 5000 + "]" * 5000 + "}", r"within each other too deeply"),
        ("a: \x00", r"no YAML: unacceptable character"),
    ],
)
def test_what_no_file_or_number_can_hold_is_named_with_its_key(tmp_path: Path, text: str, message: str):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IsoglossError, match=message) as caught:
        load_study(read_file(path), origin=str(path))
    head, *lines = str(caught.value).splitlines()
    assert all(line.strip().startswith(str(path)) and len(line) < 2000 for line in lines or [head])


def test_files_that_cannot_be_read(tmp_path: Path):
    assert re.search(r"no study file: Is a directory; give", complaint(tmp_path))
    assert re.search(r"no study file: No such file", complaint(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(MINI.replace("Skewed", "Schr\xe4g").encode("latin-1"))
    assert re.search(r"latin\.yaml: not in UTF-8 \(.* at byte \d+\)", complaint(tmp_path / "latin.yaml"))


def test_what_says_what_it_means_is_left_alone(tmp_path: Path):
    path = tmp_path / "study.yaml"
    for text, value in {
        "a: 'no'": "no",
        "a: 1.0e-3": 0.001,
        "a: TRUE": True,
        "a: 1_000": 1000,
        "a: 0x1F": 31,
        "a: -12": -12,
        "a: ~": None,
        "a: 12e4567": "12e4567",  # the beginning of a commit
        "b: &b [1]\na: *b": [1],
        "b: &b {c: 1}\na: {<<: *b, c: 2}": {"c": 2},
        '\ufeff{"a": 1e-3,\n\t"b": 0}': 0.001,
    }.items():
        path.write_text(text, encoding="utf-8")
        assert read_file(path)["a"] == value


def test_exponents_and_keys_that_yaml_and_json_have_as_text_are_numbers_where_numbers_are_asked():
    config = yaml.safe_load(changed("[0.001, 0.004]", "[1e-3, 4E-3]"))
    config["bilingual"]["intervention"]["alphas"] = ["1e-1"]
    config["models"]["skewed"]["sae"]["learning_rate"] = "2e-3"
    config["models"]["skewed"]["title"] = "1e-3"
    study = load_study(config)
    assert study.bilingual.learning_rates == [0.001, 0.004]
    assert study.bilingual.intervention is not None
    assert study.bilingual.intervention.alphas == [0.1]
    assert study.models["skewed"].sae is not None
    assert study.models["skewed"].sae.learning_rate == 0.002
    assert study.models["skewed"].title == "1e-3"


def test_a_title_may_hold_whatever_is_text():
    config = yaml.safe_load(MINI)
    config["models"]["skewed"]["title"] = '{{ 7*7 }} {% raw %} `x`_ |sub| **b** =1+1 " <3 $x$ می\u200cخواهم'
    assert load_study(config).models["skewed"].title == config["models"]["skewed"]["title"]


def test_a_config_of_another_workflow_that_no_yaml_file_holds():
    import datetime

    config = yaml.safe_load(MINI)
    config["models"]["skewed"]["title"] = datetime.date(2024, 1, 1)
    with pytest.raises(IsoglossError, match=r"^config: 2024-01-01 is read as a date; put it in quotes$"):
        load_study(config)
    config = yaml.safe_load(MINI)
    config["world"] = config
    with pytest.raises(IsoglossError, match=r"^config: Circular reference"):
        load_study(config)


def test_values_of_the_command_line_are_numbers_again_where_snakemake_left_text():
    given: dict[str, Any] = {"phrases": {"threshold": "0.5"}, "seed": 3, "bilingual": {"learning_rates": ["1e-3"]}}
    config = {"phrases": {"threshold": "0.5", "window": 4}, "seed": 3, "study": "x", "bilingual": given["bilingual"]}
    assert with_numbers(config, given) == {
        "phrases": {"threshold": 0.5, "window": 4},
        "seed": 3,
        "study": "x",
        "bilingual": {"learning_rates": [0.001]},
    }
    assert with_numbers({"mine": {"x": 1}}, {"gap": {"variant": "with_reference"}}) == {"mine": {"x": 1}}


def test_one_of_the_files_that_are_merged_is_a_whole_study(tmp_path: Path):
    part = tmp_path / "part.yaml"
    part.write_text("phrases: {per_feature: 3}\n")
    check_files([])
    check_files([REPOSITORY / "config" / "config.yaml", part])
    with pytest.raises(
        IsoglossError, match=r"part\.yaml: no key study: .*--configfile config/config\.yaml .*part\.yaml"
    ):
        check_files([part])


def test_a_file_that_snakemake_could_not_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "utf 16.yaml").write_text(MINI, encoding="utf-16")
    for path, reason in (
        ("", "STUDY names no file; give STUDY=config/studies/NAME.yaml"),
        (tmp_path / "no where.yaml", "no where.yaml: no study file: No such file or directory; give a YAML file"),
        (tmp_path, "no study file: Is a directory"),
        (tmp_path / "utf 16.yaml", "utf 16.yaml: not in UTF-8 (invalid start byte at byte 0); save it so"),
    ):
        assert main([str(path)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("isogloss: ")
        assert reason in said
        assert said.count("\n") == 1
    assert main([str(REPOSITORY / "config" / "config.yaml")]) == 0


def dry_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "results/world/facts.parquet", "--dry-run", "--quiet"]
    command += ["--directory", str(folder), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_snakemake_says_so_too(tmp_path: Path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(changed("hi]", "no]"), encoding="utf-8")
    run = dry_run(tmp_path, "--configfile", str(bad))
    assert run.returncode != 0
    assert f"{bad}:6: no is read as true or false" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_single_keys_over_a_study_in_json_that_is_changed_by_a_part_of_one(tmp_path: Path):
    study, part = tmp_path / "study.json", tmp_path / "part.yaml"
    study.write_text(json.dumps(yaml.safe_load(MINI), indent="\t"))
    part.write_text("phrases: {per_feature: 3}\n")
    keys = ["seed=3", 'statistics={"bootstrap": 300, "confidence": 9e-1}']
    run = dry_run(tmp_path, "--configfile", str(study), str(part), "--config", *keys)
    assert run.returncode == 0, run.stdout + run.stderr
