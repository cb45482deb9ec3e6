"""Digests of source code: the statements of a script and of what it imports. Comments and docstrings do not count.

A name that a lazy package gives (`sdlcore`, `sdlcore.pipeline`) counts as the module that its stub takes the name from,
so a script depends on the names that it imports, not on everything that the package offers.

Some modules are imported by names in settings: activations, loss terms, solvers, other libraries. Which of them a run
uses, its settings say (``parts``), and only those count. Modules that declare settings do not count: whoever takes a
digest has the settings themselves beside it. The version does not count either, so a release alone reruns nothing.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

DECLARATIONS = (
    "sdlcore/elsewhere.py",
    "sdlcore/settings.py",
    "sdlcore/run.py",
    "sdlcore/solvers/settings.py",
    "sdlcore/baselines/settings.py",
    "sdlcore/interop/settings.py",
    "sdlcore/version.py",
)
"""Modules that only declare settings of runs, the answers to unknown names, or the version. The modules of sources are
not among them, because they also read references."""


HOME, PACKAGE = Path(__file__).parents[2], Path(__file__).parents[1].name
"""The folder that this package lies in, and its name: beside an installed one lie all other libraries."""


def source_digest(script: Path, root: Path, parts: Iterable[str] = ()) -> str:
    """Return a digest of the statements of ``script`` and of each module below ``root`` that it imports, at any depth.

    Imports are read from the source, wherever in it they stand; nothing is executed. Packages on the way to a module
    count too, as Python runs their ``__init__``. Of a module with a stub (``.pyi``), which loads its names lazily, a
    name counts as the module that the stub takes it from.

    Parameters
    ----------
    script
        A Python file.
    root
        Folder that packages are imported from, e.g. ``src``.
    parts
        Modules that it imports by names in its settings, e.g. ``sdlcore.model.activations.topk``; and the paths of
        plugins' files, which count with what they import of ours and from beside them.

    Raises
    ------
    ModuleNotFoundError
        If one of ``parts`` is no module below ``root``.
    """
    digest = hashlib.sha256()
    for name, path in imported_sources(script, root, parts).items():
        digest.update(f"{name} {_read(path.read_bytes(), str(path))[1]}\n".encode())
    return digest.hexdigest()[:16]


def imported_sources(script: Path, root: Path, parts: Iterable[str] = ()) -> dict[str, Path]:
    """Return ``script`` and the files of all modules under ``root`` that it imports, directly or not, but declarations.

    With the files of plugins, and what they import. By their names, sorted by these.
    """
    declarations = {root / name for name in DECLARATIONS}
    found: dict[Path, Path] = {}
    waiting = [(script, root)]
    for part in parts:
        if part.endswith(".py"):
            waiting.append((Path(part).resolve(), _folder_of(Path(part).resolve())))
            continue
        if not root.joinpath(*part.split(".")).with_suffix(".py").is_file():
            raise ModuleNotFoundError(f"{part}: no such module below {root}", name=part)
        waiting += [(path, root) for path in _files(part, root)]
    while waiting:
        path, beside = waiting.pop()
        if path in found:
            continue
        found[path] = beside
        for name in _imports(path, beside):
            if beside != root and not _is_installed_apart(name, path, beside):
                waiting += [(module, beside) for module in _files(name, beside)]
            if root == HOME and name.partition(".")[0] != PACKAGE:
                continue
            ours = [module for one in (name, *_behind(name, root)) for module in _files(one, root)]
            waiting += [(module, root) for module in ours if module not in declarations]
    named = {_name(path, beside, root): path for path, beside in found.items()}
    return dict(sorted(named.items()))


def _name(path: Path, beside: Path, root: Path) -> str:
    """Return what a file is called in a digest, wherever checkouts and plugins lie."""
    if beside != root:
        return f"plugin {path.relative_to(beside).as_posix()}"
    return (path.relative_to(root) if path.is_relative_to(root) else Path(path.name)).as_posix()


def _folder_of(path: Path) -> Path:
    """Return the folder that the module of a file is imported from: that of its package, where it is in one."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _is_installed_apart(name: str, path: Path, beside: Path) -> bool:
    """Tell whether a plugin imports from another package that is installed beside it: a library, with a version."""
    own = path.relative_to(beside).parts[0].removesuffix(".py")
    return beside.name in ("site-packages", "dist-packages") and name.partition(".")[0] != own


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports. What is imported *from* a module may be a module itself."""
    for module, level, names in _read(path.read_bytes(), str(path))[0]:
        base = module
        if level:
            package = path.relative_to(root).parent
            for _ in range(level - 1):
                package = package.parent
            base = ".".join([*package.parts, *([module] if module else [])])
        yield from (f"{base}.{name}" if base else name for name in names)


# Parsing is what takes time, and scripts of a pipeline share most modules; by the text, since a file may be edited.
# Trees are not kept: walking through all of them, the garbage collector took twice as long as parsing.
@cache
def _read(text: bytes, name: str) -> tuple[list[tuple[str, int, list[str]]], str]:
    """Return a source's import statements (from where, how many packages up, which names), and its digest."""
    tree = ast.parse(text, name)  # bytes: by UTF-8 or the encoding that the file names, in every locale
    imports = []
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            imports.append(("", 0, [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.module or "", node.level, [alias.name for alias in node.names]))
    parts: list[str] = []
    _flatten(tree, parts)
    return imports, hashlib.sha256("".join(parts).encode()).hexdigest()


def _statements(body: list[Any]) -> Iterator[Any]:
    """Yield statements, and those within them at any depth. Expressions, which are most of a tree, hold none."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, field, []))


def _flatten(value: Any, parts: list[str]) -> None:
    """Append a syntax tree as text to ``parts``, without strings that stand alone as statements.

    Not by `ast.dump` or `ast.unparse`, which write one tree in several ways, by the version of Python: empty fields,
    which versions add, are left out.
    """
    if isinstance(value, ast.AST):
        parts.append(f"({type(value).__name__}")
        for field in value._fields:
            inner = getattr(value, field, None)
            if inner is not None and inner != []:
                parts.append(f" {field}=")
                _flatten(inner, parts)
        parts.append(")")
    elif isinstance(value, list):
        for inner in value:
            if not _is_docstring(inner):
                _flatten(inner, parts)
    else:
        parts.append(repr(value))


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _behind(name: str, root: Path) -> list[str]:
    """Return where the stub of a lazy module takes ``module.name`` from; empty for names of modules without a stub."""
    module, _, attribute = name.rpartition(".")
    base = root.joinpath(*module.split("."))
    stubs = [stub for stub in (base / "__init__.pyi", base.with_suffix(".pyi")) if stub.is_file()] if module else []
    return [found for stub in stubs for found in _imports(stub, root) if found.rpartition(".")[2] == attribute]


# a plan asks for the same names dozens of times; modules do not come and go while one process makes it
@cache
def _files(name: str, root: Path) -> list[Path]:
    """Return the files that importing ``name`` runs: packages on the way and the module itself."""
    parts = name.split(".")
    bases = [root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    paths = [path for base in bases for path in (base / "__init__.py", base.with_name(f"{base.name}.py"))]
    return [path for path in paths if path.is_file()]
