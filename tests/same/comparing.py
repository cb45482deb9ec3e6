"""Read the files of a run, and list the differences to another run."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import safetensors

from tests.stores import contents

WHO_MADE_IT = {"provenance", "code", "package", "versions", "inputs", "identity", "crc32", "device", "threads"}
"""JSON keys that contain provenance."""


def outputs_of(results: Path) -> dict[str, Any]:
    """Return the comparable content of a run's files, by name."""
    return {
        str(file.relative_to(results)): content
        for file in sorted(results.rglob("*"))
        if file.is_file() and (content := _content(file)) is not None
    }


def differences(base: Any, present: Any, place: str = "") -> Iterator[str]:
    """Yield a line for each difference, with its path."""
    if isinstance(base, dict) and isinstance(present, dict):
        for key in sorted(base.keys() | present.keys()):
            here = f"{place}: {key}" if place else key
            if key not in present:
                yield f"{here} is missing"
            elif key not in base:
                yield f"{here} is new"
            else:
                yield from differences(base[key], present[key], here)
    elif base != present:
        yield f"{place}: {_short(base)} became {_short(present)}"


def _content(file: Path) -> Any:
    """Return a file's content without provenance and durations, or None if nothing in it is compared."""
    match file.suffix:
        case ".safetensors":
            with safetensors.safe_open(file, framework="numpy") as tensors:
                values = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
                metadata = {name: json.loads(text) for name, text in (tensors.metadata() or {}).items()}
            return {name: (str(v.dtype), v.shape, v.tobytes()) for name, v in values.items()} | _without(metadata)
        case ".h5":
            return {name: value for name, value in contents(file).items() if not name.endswith("@provenance")}
        case ".json":
            return _without(json.loads(file.read_text()))
        case ".csv":
            with file.open(newline="") as lines:
                return _numbered(csv.DictReader(lines))
        case ".md":
            return _markdown(file.read_text())
        case ".tex":
            return file.read_text()
    return None


def _numbered(rows: Iterable[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the rows of a table by number, without durations."""
    return {
        f"row {number}": {key: value for key, value in row.items() if "seconds" not in (key or "")}
        for number, row in enumerate(rows)
    }


def _markdown(text: str) -> dict[str, Any]:
    """Return the lines outside tables as ``text``, and the rows of all tables as those of a CSV file."""
    prose, rows = [], []
    for is_table, lines in groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        if not is_table:
            prose += lines
            continue
        head, _, *body = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
        names = [name if name not in head[:place] else f"{name} ({place})" for place, name in enumerate(head)]
        rows += [dict(zip(names, cells, strict=True)) for cells in body]
    return {"text": prose, **_numbered(rows)}


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in WHO_MADE_IT and "seconds" not in key}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:80]}... ({len(text)} characters)"
