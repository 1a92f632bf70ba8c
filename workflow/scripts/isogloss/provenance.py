"""A digest of the code that a stage runs, so that editing a module reruns the rules that use it.

Snakemake notices a changed script but not a changed module that the script imports. Each rule
therefore carries `params: code=...`, the digest of its stage module and of everything that module
imports from this package, taken from the syntax tree: comments and formatting do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from isogloss.languages import LANGUAGE_TABLE

PACKAGE = Path(__file__).parent
DATA = {  # what a module reads whatever its arguments
    "isogloss.languages": LANGUAGE_TABLE,
    "isogloss.latent.prompts": LANGUAGE_TABLE.with_name("prompts.yaml"),
}


@cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """The normalised source of module `name` and the package modules that it imports."""
    path = _path(name)
    assert path is not None, name
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        imports |= {n for n in names if n.split(".")[0] == PACKAGE.name and _path(n)}
    return ast.dump(_without_docstrings(tree)), frozenset(imports)


def _path(name: str) -> Path | None:
    stem = PACKAGE.parent.joinpath(*name.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


@cache
def code_digest(*modules: str) -> str:
    """A short digest of `modules` (dotted names) and of all they import from the package, transitively."""
    seen: dict[str, str] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name not in seen:
            seen[name], imports = _module(name)
            pending.extend(imports)
    parts = [f"{name}\n{seen[name]}" for name in sorted(seen)]
    parts += [DATA[name].read_text(encoding="utf-8") for name in sorted(seen) if name in DATA]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def text_digest(folder: Path) -> str:
    """A short digest of the files in `folder` (captions, style), which the report is made of too."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
