"""Names for pipeline stages that notebooks do not need: settings, files between stages, metrics, parts of methods.

The workflow uses only the names of this module and of `sdlcore`, as another package would.
`pipeline.pyi` lists them. Each name is imported at its first use, so planning a pipeline loads neither torch nor HDF5.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_MODULES = {
    alias.name: f"sdlcore.{statement.module}"
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ImportFrom)
    for alias in statement.names
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
