"""Load dictionaries in sdlcore's and other libraries' formats."""

import inspect
from pathlib import Path
from typing import Any

from sdlcore.interop import tensors
from sdlcore.interop.formats import OURS, READ, format_at, locate
from sdlcore.interop.registry import FORMATS, canonical
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model
from sdlcore.storage.paths import user_path

READABLE = ("sdlcore", *READ, "tensors")


def load(
    path: str | Path, format: str | None = None, *, subfolder: str = "", revision: str | None = None, **options: Any
) -> SparseCoder:
    """Load a dictionary, in evaluation mode, on the CPU. No code that comes with the dictionary is run.

    Parameters
    ----------
    path
        A file, a folder, or OWNER/NAME at the Hugging Face hub if no such local path exists. `sdlcore.load` also takes
        the name of a release.
    format
        sdlcore, saelens, dictionary_learning, sparsify or tensors; None to detect it by file names.
    subfolder, revision
        Folder of the dictionary inside ``path``, and the hub's branch, tag or commit.
    options
        Options for plain tensors, which do not describe how they are used; see `sdlcore.interop.tensors.read`.

    Raises
    ------
    ValueError
        If the file is damaged, has no known format or several, or cannot be expressed here; the message names it.
    """
    if format is not None and (name := canonical(format)) not in READABLE:
        written = f"{FORMATS[name].title} dictionaries can be written but not read" if name in FORMATS else None
        raise ValueError(f"{written or f'format is {format!r}'}; expected one of {', '.join(READABLE)}")
    location = locate(user_path(path), subfolder, revision)
    format = format_at(location) if format is None else canonical(format)
    if format == "tensors":
        names = list(inspect.signature(tensors.read).parameters)[1:]
        _check_options(options, f"plain tensors have no option {{}}; expected some of {', '.join(names)}", names)
        return tensors.read(location, **options)
    _check_options(options, f"options are only for plain tensors, but the format is {format}; leave out {{}}")
    if format == "sdlcore":
        return load_model(location / OURS if location.is_dir() else location)
    read = FORMATS[format].read
    assert read is not None
    return read(location.parent if location.is_file() else location)


def _check_options(options: dict[str, Any], message: str, names: list[str] | None = None) -> None:
    if unknown := sorted(options.keys() - set(names or ())):
        raise ValueError(message.format(", ".join(unknown)))
