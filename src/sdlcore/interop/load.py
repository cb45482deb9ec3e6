"""Open dictionaries, ours and other libraries'."""

import inspect
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sdlcore.interop import tensors
from sdlcore.interop.registry import FORMATS, format_of
from sdlcore.model.saving import load_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.sources.language.hub_names import is_hub_model
from sdlcore.storage.parsing import SourceError

READABLE = ("sdlcore", *(name for name, found in FORMATS.items() if found.read), "tensors")
_OURS = "model.safetensors"


def load(
    path: str | Path, format: str | None = None, *, subfolder: str = "", revision: str | None = None, **options: Any
) -> SparseCoder:
    """Open a dictionary, in evaluation mode, on the CPU. No code that comes with it is run.

    Parameters
    ----------
    path
        A file, a folder, or OWNER/NAME at the Hugging Face hub where that is no path on this machine.
    format
        sdlcore, saelens, dictionary_learning, sparsify or tensors; None to tell by the names of files.
    subfolder, revision
        The folder in it that holds the dictionary, and the hub's branch, tag or commit.
    options
        Of plain tensors, which do not say how they are used: `sdlcore.interop.tensors.read` lists them.

    Raises
    ------
    ValueError
        Naming the file, if it is damaged, of no format or of several, or computes what no model here does.
    """
    if format is not None and format != "tensors":
        format = "sdlcore" if format == "sdlcore" else format_of(format)[0]
    if format is not None and format not in READABLE:
        raise ValueError(f"{FORMATS[format].title} dictionaries are written, not read; expected {', '.join(READABLE)}")
    found = _found(path, subfolder, revision)
    format = format or _format_at(found)
    if format == "tensors":
        known = list(inspect.signature(tensors.read).parameters)[1:]
        _check_options(options, f"plain tensors have no option {{}}; expected some of {', '.join(known)}", known)
        return tensors.read(found, **options)
    _check_options(options, f"{format} says by itself how a dictionary is used; leave out {{}}")
    if format == "sdlcore":
        return load_model(found / _OURS if found.is_dir() else found)
    read = FORMATS[format].read
    assert read is not None
    return read(found.parent if found.is_file() else found)


def _check_options(options: dict[str, Any], message: str, known: list[str] | None = None) -> None:
    if unknown := sorted(options.keys() - set(known or ())):
        raise ValueError(message.format(", ".join(unknown)))


def _found(path: str | Path, subfolder: str, revision: str | None) -> Path:
    """Return where a dictionary lies on this machine, fetched from the hub if need be."""
    if is_hub_model(str(path)):
        from sdlcore.sources.language.hub import dictionary_snapshot  # takes an optional library

        names = {name for found in FORMATS.values() for name in found.files} | {_OURS}
        patterns = [f"{subfolder}/{name}" if subfolder else name for name in sorted(names)]
        path = dictionary_snapshot(str(path), revision, patterns)
    elif revision is not None:
        raise ValueError(f"{path}: is a path on this machine, which has no revisions; leave out revision")
    found = Path(path) / subfolder
    if not found.exists():
        raise SourceError(f"{found}: neither a file or folder on this machine nor OWNER/NAME at the hub")
    return found


def _format_at(path: Path) -> str:
    """Return the format of a file or folder by its name, or the names of the files in it."""
    if path.is_file():
        return _format_of_file(path)
    here = sorted(found.name for found in path.iterdir() if found.is_file())
    fitting = _formats_of(here) + (["sdlcore"] if _OURS in here else [])
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SourceError(f"{path}: holds dictionaries in several formats; give format, one of {', '.join(fitting)}")
    expected = "; ".join(f"{name}: {' and '.join(one.files)}" for name, one in FORMATS.items() if one.read)
    inside = sorted(found.name for found in path.iterdir() if found.is_dir() and any(found.glob("*.safetensors")))
    more = f"; there are dictionaries in {', '.join(inside[:5])}: give subfolder" if inside else ""
    raise SourceError(f"{path}: holds no dictionary in a format that is known ({expected}){more}")


def _format_of_file(path: Path) -> str:
    if path.suffix not in (*tensors.SUFFIXES, ".pt", ".json"):
        raise SourceError(f"{path}: expected a folder, or a file that ends in {' or '.join(tensors.SUFFIXES)}")
    beside = [found.name for found in path.parent.iterdir() if found.is_file()]
    fitting = [name for name in _formats_of(beside) if path.name in FORMATS[name].files]
    if len(fitting) == 1:
        return fitting[0]
    if path.suffix == ".npz":
        return "tensors"
    if path.suffix != ".safetensors":
        raise SourceError(f"{path}: is no dictionary by itself; give the folder that it belongs to")
    try:
        with safe_open(path, "pt") as file:
            return "sdlcore" if "sdlcore" in (file.metadata() or {}) else "tensors"
    except (OSError, SafetensorError) as error:
        raise SourceError(f"{path}: not a readable safetensors file ({error})") from error


def _formats_of(names: list[str]) -> list[str]:
    """Return the formats that files of these names make, of those that are read."""
    return [
        name
        for name, found in FORMATS.items()
        if found.read and all(any(fnmatch(one, pattern) for one in names) for pattern in found.files)
    ]
