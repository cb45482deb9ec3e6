"""Digests of source code: what a script runs of a package, found by following its imports."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def source_digest(script: Path, root: Path) -> str:
    """Return a digest of ``script`` and of every module under ``root`` that it imports, directly or not.

    Imports are read from the source, wherever in it they stand; nothing is executed. Packages on the way to a module
    count too, as Python runs their ``__init__``.

    Parameters
    ----------
    script
        A Python file.
    root
        Folder that packages are imported from, e.g. ``src``.
    """
    digest = hashlib.sha256()
    for path in imported_sources(script, root):
        name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        content = path.read_bytes()
        digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def imported_sources(script: Path, root: Path) -> list[Path]:
    """Return ``script`` and the files of all modules under ``root`` that it imports, directly or not, sorted."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [module for name in _imports(path, root) for module in _files(name, root)]
    return sorted(found)


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports. What is imported *from* a module may be a module itself."""
    for module, level, names in _statements(path.read_text(), str(path)):
        base = module
        if level:
            package = path.relative_to(root).parent
            for _ in range(level - 1):
                package = package.parent
            base = ".".join([*package.parts, *([module] if module else [])])
        yield from (f"{base}.{name}" if base else name for name in names)


# parsing is what takes time, and scripts of a pipeline share most modules; by the text, since a file may be edited
@cache
def _statements(text: str, name: str) -> list[tuple[str, int, list[str]]]:
    """Return the import statements of a source: from where, how many packages up, which names."""
    found = []
    for node in ast.walk(ast.parse(text, name)):
        if isinstance(node, ast.Import):
            found.append(("", 0, [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, [alias.name for alias in node.names]))
    return found


def _files(name: str, root: Path) -> Iterator[Path]:
    """Yield the files that importing ``name`` runs: packages on the way and the module itself."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:depth])
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                yield path
