"""Digests of code: what a rule's numbers depend on and nothing else, so that an edit reruns what it must and no more.

Snakemake notices a changed script, but not what the script calls. Each rule therefore carries `params: code=...`, the
digest of the definitions (functions, classes, constants) that its script reaches in this package, by name, from one to
the next. What is not reached does not count: another stage's functions in the same module, another table's contract, a
display name, the reader of another format. Nor do annotations, docstrings and comments.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from isogloss.resources import RESOURCES, SCRIPTS

PACKAGE = Path(__file__).parent
# Files of the resources that a definition reads whatever its arguments, by module and name.
DATA = {
    ("isogloss.languages", "LANGUAGE_TABLE"): "languages.tsv",
    ("isogloss.latent.prompts", "PROMPTS"): "prompts.yaml",
    ("isogloss.sources.world.wording", "WORDINGS"): "world",
}
# What every stage runs under, seeds and threads, is part of its code; logs, errors and metadata round it are not.
ROOT = ("isogloss.determinism", "make_deterministic")
AROUND = {"isogloss.stage", "isogloss.errors", "isogloss.redaction"}

Name = tuple[str, str]  # module, name within it; "*" is all of the module


class Statement(NamedTuple):
    """A top-level statement of a module."""

    text: str  # its syntax tree without annotations, docstrings and positions
    uses: frozenset[Name]  # what it reaches in the package, imports followed no further than to their module


class Module(NamedTuple):
    """A module taken apart."""

    bound: dict[str, list[Statement]]  # by the name that they bind; one statement may stand under several
    always: list[Statement]  # those that bind nothing, which run whatever is imported


def code_digest(script: str, *entries: str) -> str:
    """A short digest of the code that the stage script `workflow/scripts/SCRIPT.py` reaches.

    `entries` are further definitions that it looks up by name, as `package.module:function`. Raises
    `FileNotFoundError` for a script, `KeyError` for an entry that does not exist.
    """
    names = [_entry(entry) for entry in entries]
    return _digest(SCRIPTS / f"{script}.py", names)


def _digest(script: Path, entries: Sequence[Name]) -> str:
    tree = _stripped(ast.parse(script.read_text(encoding="utf-8")))
    reached = _reach([ROOT, *entries, *_uses(tree, _imports(tree, "")[0])])
    parts = [ast.dump(tree), *(f"{module}:{name}\n{text}" for (module, name), text in sorted(reached.items()))]
    parts += [_content(RESOURCES / DATA[name]) for name in sorted(DATA.keys() & reached.keys())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _entry(entry: str) -> Name:
    module, _, name = entry.partition(":")
    path = _path(module)
    if path is None or name not in _module(path, module).bound:
        raise KeyError(f"{entry}: no such definition")
    return module, name


def _reach(pending: list[Name]) -> dict[Name, str]:
    """The text of every definition that `pending` reach, themselves included, by module and name."""
    reached: dict[Name, str] = {}
    touched: set[str] = set()
    while pending:
        module, name = key = pending.pop()
        path = _path(module)
        if key in reached or path is None or module in AROUND:
            continue
        parts = _module(path, module)
        if name == "*":
            reached[key] = ""
            pending += [(module, bound) for bound in parts.bound]
            continue
        if name not in parts.bound:
            continue
        statements = list(parts.bound[name])
        reached[key] = "\n".join(statement.text for statement in statements)
        if module not in touched:
            touched.add(module)
            reached[module, ""] = "\n".join(statement.text for statement in parts.always)
            statements += parts.always
        pending += [use for statement in statements for use in statement.uses]
    return reached


def _module(path: Path, name: str) -> Module:
    return _taken_apart(path.read_text(encoding="utf-8"), name)


@cache
def _taken_apart(source: str, name: str) -> Module:
    tree = _stripped(ast.parse(source))
    imports, rest = _imports(tree, name)
    own = {bound for statement in rest for bound in _binds(statement)}
    here = {bound: (name, bound) for bound in own} | imports
    bound: dict[str, list[Statement]] = {}
    always: list[Statement] = []
    for statement in rest:
        part = Statement(ast.dump(statement), frozenset(_uses(statement, here)))
        names = _binds(statement)
        for each in names:
            bound.setdefault(each, []).append(part)
        if not names:
            always.append(part)
    for alias, target in imports.items():  # what another module imports from this one
        bound.setdefault(alias, []).append(Statement("", frozenset([target])))
    return Module(bound, always)


def _imports(tree: ast.AST, module: str) -> tuple[dict[str, Name], list[ast.stmt]]:
    """What the imports from this package directly in `tree` bind, and the other statements.

    An import from elsewhere is a statement like any other, under the names that it binds.
    """
    bound: dict[str, Name] = {}
    rest: list[ast.stmt] = []
    for statement in getattr(tree, "body", []):
        if isinstance(statement, ast.ImportFrom) and _ours(statement.module):
            bound |= {alias.asname or alias.name: _imported(statement.module or "", alias) for alias in statement.names}
        elif isinstance(statement, ast.Import) and any(_ours(alias.name) for alias in statement.names):
            raise ValueError(f"{module or 'script'}: write `from {statement.names[0].name} import ...`")
        else:
            rest.append(statement)
    return bound, rest


def _imported(module: str, alias: ast.alias) -> Name:
    if alias.name == "*":
        raise ValueError(f"from {module} import *: name what is imported")
    inner = f"{module}.{alias.name}"
    return (inner, "*") if _path(inner) else (module, alias.name)


def _uses(tree: ast.AST, names: dict[str, Name]) -> Iterator[Name]:
    """What `tree` reaches through `names`; of a module that is imported whole only the attributes that are read."""
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and _ours(node.module):  # within a function
            names = names | {alias.asname or alias.name: _imported(node.module or "", alias) for alias in node.names}
    read = {}  # names of modules that an attribute is read of
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, part = names.get(node.value.id, ("", ""))
            if part == "*":
                read[node.value] = (module, node.attr)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in names:
            yield read.get(node, names[node.id])


def _binds(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement binds or, as `table["key"] = value` does, completes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [
            node.id
            for target in targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name) and _base(node, target)
        ]
    inner = [part for part in ast.iter_child_nodes(statement) if isinstance(part, ast.stmt)]
    return list(dict.fromkeys(name for part in inner for name in _binds(part)))


def _base(name: ast.Name, target: ast.expr) -> bool:
    """Whether `name` is what the target assigns to, not an index within it."""
    if isinstance(name.ctx, ast.Store):
        return True
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target is name


class _Strip(ast.NodeTransformer):
    """Takes out what changes no number: annotations, docstrings, what only type checkers read."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in every:
            if argument is not None:
                argument.annotation = None
        return self._undocumented(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._undocumented(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._undocumented(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """The value alone; without one, a field of a class, its name."""
        if node.value is None:
            return ast.Expr(ast.Constant(ast.unparse(node.target)))
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.Pass()
        return self.generic_visit(node)

    def _undocumented(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def _stripped(tree: ast.Module) -> ast.AST:
    return _Strip().visit(tree)


def _ours(module: str | None) -> bool:
    return bool(module) and str(module).split(".")[0] == PACKAGE.name


def _path(module: str) -> Path | None:
    stem = PACKAGE.parent.joinpath(*module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def text_digest(folder: Path) -> str:
    """A short digest of the files in `folder` (captions, style), which the report is made of too."""
    return hashlib.sha256(_content(folder).encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    """A file's text, or that of all files in a folder under their names."""
    files: Iterable[Path] = sorted(path.iterdir()) if path.is_dir() else [path]
    return "\0".join(f"{file.name}\0{file.read_text(encoding='utf-8')}" for file in files)
