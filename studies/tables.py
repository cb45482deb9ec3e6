"""Tables of finished runs. A study adds a row when a run is complete; if interrupted, it skips the runs with a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdlcore.storage.files import write_text


def finished(path: Path, keys: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the runs of a table, each by the texts of its ``keys``."""
    return set(read(path)[list(keys)].itertuples(index=False, name=None)) if path.is_file() else set()


def add(path: Path, rows: Sequence[dict[str, Any]], keys: Sequence[str] = ()) -> None:
    """Add rows to a table, with five digits of each number. A row replaces an earlier row with the same ``keys``."""
    found = pd.DataFrame(rows).map(text)
    if path.is_file():
        found = pd.concat([read(path), found]).fillna("")
    if keys:
        found = found.drop_duplicates(list(keys), keep="last")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, found.to_csv(index=False, lineterminator="\n"))


def read(path: Path) -> pd.DataFrame:
    """Return a table as it is written: every cell is a text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def text(value: Any) -> str:
    """Return the text of a cell."""
    if value is None or isinstance(value, float | np.floating):
        return "" if value is None or np.isnan(value) else f"{value:.5g}"
    return str(value)
