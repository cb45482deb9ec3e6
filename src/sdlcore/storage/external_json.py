"""Read JSON files of other libraries."""

import json
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises
    ------
    OSError
        If the path is not a regular file.
    SourceError
        If the file contains something other than an object.
    ValueError
        If the file is not JSON in UTF-8. The message does not name the file; `sdlcore.storage.parsing` adds the name.
    """
    if not path.is_file():  # opening a pipe would wait for a writer
        raise FileNotFoundError(f"{path.name}: no such file")
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise SourceError(f"{path}: contains a {type(content).__name__}, expected a JSON object")
    return content
