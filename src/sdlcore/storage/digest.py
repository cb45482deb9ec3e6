"""Digests of source code: the statements of a script and of its imports, without comments and docstrings.

A name imported from a lazy package (`sdlcore`) counts as the module that the package's stub imports
it from. So a script depends on the names that it imports, not on the whole package.

Some modules are imported by a name in the settings: activations, loss terms, solvers, other libraries. Only the modules
that a run's settings name (``parts``) count. Modules that declare settings do not count, because callers compare the
settings themselves next to the digest. The version of sdlcore does not count either, so a release alone reruns nothing.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

DECLARATIONS = (
    "sdlcore/other_libraries.py",
    "sdlcore/suggestions.py",
    "sdlcore/setting_errors.py",
    "sdlcore/settings.py",
    "sdlcore/run.py",
    "sdlcore/solvers/settings.py",
    "sdlcore/interop/settings.py",
    "sdlcore/version.py",
    "peers/settings.py",
)
"""Modules that only declare settings of runs, answers to unknown settings, or the version: below ``root``, or beside
the folder of scripts. Modules that declare settings of sources are not listed, because they also read references."""


HOME, PACKAGE = Path(__file__).parents[2], Path(__file__).parents[1].name
"""The folder that contains this package, and the package's name. For an installed package, the folder also contains all
other libraries."""


def source_digest(script: Path, root: Path, parts: Iterable[str] = ()) -> str:
    """Return a digest of the statements of ``script`` and of all modules below ``root`` that it imports, at any depth.

    Imports are read from anywhere in the source; nothing is executed. Parent packages of a module count too, since
    Python runs their ``__init__``. If a module has a stub (``.pyi``), which loads names lazily, a name counts as the
    module that the stub imports it from.

    Parameters
    ----------
    script
        A Python file. A script in a folder called scripts also imports the packages beside that folder, such as
        ``sdlstudy`` of the pipeline.
    root
        The folder to import packages from, e.g. ``src``.
    parts
        Modules that the script imports by names in its settings, e.g. ``sdlcore.model.activations.topk``, and paths of
        plugin files. A plugin counts with the modules that it imports from this package and from its own folder.

    Raises
    ------
    ModuleNotFoundError
        If one of ``parts`` is not a module below ``root``, nor beside the folder of the script.
    """
    digest = hashlib.sha256()
    for name, path in imported_sources(script, root, parts).items():
        digest.update(f"{name} {_read(path.read_bytes(), str(path))[1]}\n".encode())
    return digest.hexdigest()[:16]


def imported_sources(script: Path, root: Path, parts: Iterable[str] = ()) -> dict[str, Path]:
    """Return the files of ``script`` and of all modules below ``root`` that it imports, except `DECLARATIONS`.

    Files of plugins and their imports are included. Keys are the files' names in a digest, sorted.
    """
    folders: dict[Path, Path] = {}
    script_folder = script.parents[1] if script.parent.name == "scripts" else root
    declarations = {folder / name for folder in (root, script_folder) for name in DECLARATIONS}
    waiting = [(script, script_folder)]
    for part in parts:
        if part.endswith(".py"):
            waiting.append((Path(part).resolve(), _folder_of(Path(part).resolve())))
            continue
        home = next(
            (home for home in (root, script_folder) if home.joinpath(*part.split(".")).with_suffix(".py").is_file()),
            None,
        )
        if home is None:
            raise ModuleNotFoundError(f"{part}: no such module below {root}", name=part)
        waiting += [(path, home) for path in _files(part, home)]
    while waiting:
        path, beside = waiting.pop()
        if path in folders:
            continue
        folders[path] = beside
        for name in _imports(path, beside):
            if beside != root and not _is_installed_apart(name, path, beside):
                waiting += [(module, beside) for module in _files(name, beside) if module not in declarations]
            if root == HOME and name.partition(".")[0] != PACKAGE:
                continue
            ours = [module for one in (name, *_behind(name, root)) for module in _files(one, root)]
            waiting += [(module, root) for module in ours if module not in declarations]
    names = {_name(path, beside, root): path for path, beside in folders.items()}
    return dict(sorted(names.items()))


def _name(path: Path, beside: Path, root: Path) -> str:
    """Return a file's name in a digest, which does not depend on where checkouts and plugins are."""
    if beside != root:
        return f"beside: {path.relative_to(beside).as_posix()}"
    return (path.relative_to(root) if path.is_relative_to(root) else Path(path.name)).as_posix()


def _folder_of(path: Path) -> Path:
    """Return the folder that a file's module is imported from: the parent of its top-level package, if it is in one."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _is_installed_apart(name: str, path: Path, beside: Path) -> bool:
    """Return whether an installed plugin imports from another package, which is then a library with its own version."""
    package = path.relative_to(beside).parts[0].removesuffix(".py")
    return beside.name in ("site-packages", "dist-packages") and name.partition(".")[0] != package


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports. A name imported *from* a module may be a module itself."""
    for module, level, names in _read(path.read_bytes(), str(path))[0]:
        base = module
        if level:
            package = path.relative_to(root).parent
            for _ in range(level - 1):
                package = package.parent
            base = ".".join([*package.parts, *([module] if module else [])])
        yield from (f"{base}.{name}" if base else name for name in names)


# Cached because parsing is slow and scripts of a pipeline share most modules. The key includes the text, since a file
# may be edited. Trees are not cached: with many of them, the garbage collector took twice as long as parsing.
@cache
def _read(text: bytes, name: str) -> tuple[list[tuple[str, int, list[str]]], str]:
    """Return a source's import statements (module, relative level, names) and its digest."""
    tree = ast.parse(text, name)  # bytes, so that the encoding does not depend on the locale
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
    """Yield statements and their nested statements, at any depth. Expressions contain no statements."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, field, []))


def _flatten(value: Any, parts: list[str]) -> None:
    """Append a syntax tree as text to ``parts``, without docstrings and other string statements.

    Unlike the output of `ast.dump` and `ast.unparse`, the text does not depend on the version of Python: it leaves out
    empty fields, which new versions add.
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
    """Look up in a lazy module's stub where it imports ``module.name`` from; empty if there is no stub."""
    module, _, attribute = name.rpartition(".")
    base = root.joinpath(*module.split("."))
    stubs = [stub for stub in (base / "__init__.pyi", base.with_suffix(".pyi")) if stub.is_file()] if module else []
    return [origin for stub in stubs for origin in _imports(stub, root) if origin.rpartition(".")[2] == attribute]


# Cached because a plan looks up the same names dozens of times, and modules do not change while one process plans.
@cache
def _files(name: str, root: Path) -> list[Path]:
    """Return the files that importing ``name`` runs: the parent packages and the module itself."""
    parts = name.split(".")
    bases = [root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    paths = [path for base in bases for path in (base / "__init__.py", base.with_name(f"{base.name}.py"))]
    return [path for path in paths if path.is_file()]
