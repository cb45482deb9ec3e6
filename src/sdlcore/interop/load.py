"""Load dictionaries in sdlcore's and other libraries' formats."""

from pathlib import Path
from typing import Any

from sdlcore.interop import tensors
from sdlcore.interop.export import FORMATS
from sdlcore.interop.formats import OURS, READ, canonical, format_at, locate
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model
from sdlcore.storage.files import user_path


def load(
    path: str | Path, format: str | None = None, *, subfolder: str = "", revision: str | None = None, **options: Any
) -> SparseCoder:
    """Load a dictionary, in evaluation mode, on the CPU. Arguments and errors as in `sdlcore.load`, but for releases.

    No code that comes with the dictionary is run.
    """
    location = locate(user_path(path), subfolder, revision)
    format = format_at(location) if format is None else canonical(format)
    if format == "tensors":
        return tensors.read(location, **options)
    if options:
        raise ValueError(f"{', '.join(options)}: options are only for plain tensors, but the format is {format}")
    if format == "sdlcore":
        return load_model(location / OURS if location.is_dir() else location)
    if format not in READ:
        raise ValueError(f"format is {format!r}; expected one of {', '.join(('sdlcore', *READ, 'tensors'))}")
    read = FORMATS[format].read
    assert read is not None
    return read(location.parent if location.is_file() else location)
