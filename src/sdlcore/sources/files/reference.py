"""How the configuration names an array in a file: ``path``, or ``path#key`` where the file holds several."""

from collections.abc import Mapping
from typing import Any, NamedTuple

FORMATS = (".npy", ".npz", ".h5", ".hdf5", ".safetensors")
# settings of a source of kind file that name arrays, and the one that names a text or JSON file
ARRAYS = ("input", "target", "labels", "test_input", "test_target", "test_labels")
FILES = (*ARRAYS, "class_names")


class ArrayReference(NamedTuple):
    """An array in a file."""

    path: str
    key: str | None
    """Its name in the file, None for the only one."""


def parse_array(reference: str) -> ArrayReference:
    """Return the parts of ``path`` or ``path#key``."""
    path, separator, key = reference.partition("#")
    return ArrayReference(path, key if separator else None)


def source_files(source: Mapping[str, Any]) -> list[str]:
    """Return the files that the settings of a source of kind ``file`` name, each once."""
    return list(dict.fromkeys(parse_array(source[name]).path for name in FILES if source.get(name)))


def inconsistencies(source: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what does not go together in the settings of a source of kind ``file``: key and what is wrong with it."""
    found = []
    for name in ARRAYS:
        if source.get(name) and not parse_array(source[name]).path.endswith(FORMATS):
            found.append((name, f"{source[name]}: expected a file of type {', '.join(FORMATS)}, with #key if needed"))
    for name in ("target", "labels"):
        if source.get("test_input") and bool(source.get(name)) != bool(source.get(f"test_{name}")):
            missing = f"test_{name}" if source.get(name) else name
            found.append((missing, f"missing; with test_input, {name} and test_{name} go together"))
        elif source.get(f"test_{name}") and not source.get("test_input"):
            found.append((f"test_{name}", "has no meaning without test_input"))
    if source.get("class_names") and not source.get("labels"):
        found.append(("class_names", "has no meaning without labels"))
    return found
