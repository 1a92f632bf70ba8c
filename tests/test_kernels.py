"""Every rule that runs a language model says in its tables which way the forward went."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
NO_LANGUAGE_MODEL = {"translate", "score_comet"}  # a translator, and COMET


def rules_with_a_gpu() -> dict[str, Path]:
    """The script of each rule that asks for the resource; derived rules (`use rule`) have their base's."""
    found: dict[str, Path] = {}
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        parts = re.split(r"^ *rule (\w+):$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if re.search(r"^ +gpu=", body, flags=re.MULTILINE):
                script = re.search(r'"\.\./scripts/(\w+\.py)"', body)
                assert script, name
                found[name] = SCRIPTS / script[1]
    return found


def modules_of(path: Path) -> list[Path]:
    """The modules of the package that a file imports from."""
    names = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isogloss.")
    ]
    paths = [SCRIPTS / f"{(name or '').replace('.', '/')}.py" for name in names]
    return [path for path in paths if path.is_file() and path.parent.name != "models"]


def names_its_path(path: Path) -> bool:
    """Whether a module gives on what `kernels_of` says."""
    text = path.read_text(encoding="utf-8")
    return bool(re.search(r"(\*\*|[, ])kernels_of\(", text))


def test_what_runs_a_model_says_which_way_it_went():
    rules = rules_with_a_gpu()
    assert {"encode", "explore", "intervene", "train_sae", "score_comet"} <= rules.keys()
    for rule in rules.keys() - NO_LANGUAGE_MODEL:
        stages = modules_of(rules[rule])
        assert any(map(names_its_path, [*stages, *(part for stage in stages for part in modules_of(stage))])), rule
