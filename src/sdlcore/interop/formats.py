"""Locate dictionaries and detect their format by file names.

A separate module, since the pipeline needs it before torch is loaded.
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from sdlcore.errors import SourceError
from sdlcore.extraction.config import is_hub_model
from sdlcore.storage.parsing import parsing
from sdlcore.text import listed

FILES = {
    "saelens": ("sae_weights.safetensors", "cfg.json"),
    "dictionary_learning": ("ae.pt", "config.json"),
    "sparsify": ("sae.safetensors", "cfg.json"),
    "circuit_tracer": ("layer_*.safetensors", "config.yaml"),
}
"""Format -> names or patterns of the files in a folder; the last file describes the others."""
READ = ("saelens", "dictionary_learning", "sparsify")
"""Formats of other libraries that can be loaded."""
OURS = "model.safetensors"
"""File name of the dictionary in a run's folder."""
BESIDE = ("config.json", "history.csv", "anchors.safetensors")
"""Further files of a folder that `Dictionary.save_pretrained` wrote."""
PLAIN = (".safetensors", ".npz")
"""Suffixes of files of plain tensors."""
RELEASE = 'for a release of SAELens, write its name and the id of the dictionary, load("RELEASE", subfolder="ID")'
"""Advice for a name that the hub does not know."""
_EXPECTED = "; ".join([f"sdlcore: {OURS}", *(f"{name}: {' and '.join(FILES[name])}" for name in READ)])


def canonical(name: str) -> str:
    """Return the name of a format as in `FILES`: in lower case, with underscores instead of hyphens."""
    return str(name).lower().replace("-", "_")


def locate(path: str | Path, subfolder: str = "", revision: str | None = None, **hub: Any) -> Path:
    """Return the local path of a dictionary, after fetching it from the hub if needed; arguments as for `load`.

    ``hub`` are options of `huggingface_hub.snapshot_download`.

    Raises
    ------
    SourceError
        If there is no such path, or the hub's repository has no dictionary in ``subfolder``.
    ValueError
        If a local path is given with a revision.
    """
    if is_hub_model(str(path)):
        from sdlcore.extraction.hub import snapshot  # takes an optional library

        location = snapshot(str(path), revision, _patterns(subfolder), RELEASE, **hub) / subfolder
        if not location.exists() or (location.is_dir() and not any(location.iterdir())):
            raise SourceError(
                f"{path}: the hub's repository has no dictionary in {subfolder or 'its top folder'} ({_EXPECTED}); "
                "give its folder as subfolder; for plain tensors, such as Gemma Scope's, give the file: "
                f'subfolder="{subfolder or "FOLDER"}/params.npz"'
            )
        return location
    if revision is not None:
        raise ValueError(f"{path}: is a path on this machine, which has no revisions; leave out revision")
    location = Path(path) / subfolder
    if not location.exists():
        raise SourceError(f"{location}: neither a file or folder on this machine nor OWNER/NAME at the hub")
    return location


def _patterns(subfolder: str) -> list[str]:
    """Return the files to fetch from a repository: all known file names in a folder, or the one file given."""
    if subfolder.endswith(PLAIN):
        return [subfolder]
    names = {name for form in READ for name in FILES[form]} | {OURS, *BESIDE}
    return [f"{subfolder}/{name}" if subfolder else name for name in sorted(names)]


def format_at(path: Path) -> str:
    """Detect the format of a file by its name and metadata, or of a folder by the names of its files.

    Raises
    ------
    SourceError
        If no format is known for it, or a folder has files in several; the message names the path.
    """
    if path.is_file():
        return _format_of_file(path)
    here = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    fitting = formats_of(here) + (["sdlcore"] if OURS in here else [])
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SourceError(f"{path}: contains dictionaries in several formats; give format, one of {', '.join(fitting)}")
    if inside := sorted(entry.name for entry in path.iterdir() if entry.is_dir() and any(entry.glob("*.safetensors"))):
        raise SourceError(f"{path}: contains dictionaries in folders ({listed(inside)}); give one of these folders")
    plain = [name for name in here if name.endswith(PLAIN)]
    advice = f"; {listed(plain)} may contain plain tensors: give the file and their options" if plain else ""
    raise SourceError(f"{path}: contains no dictionary in a known format ({_EXPECTED}){advice}")


def dictionary_files(path: Path, format: str) -> list[Path]:
    """Return the files that contain the dictionary at a path, for a known format."""
    if format in FILES:
        folder = path.parent if path.is_file() else path
        return [folder / name for name in FILES[format]]
    return [path / OURS if path.is_dir() else path]


def locate_files(path: str | Path, subfolder: str = "", format: str | None = None) -> list[Path]:
    """Return the files that contain the dictionary at a path; arguments and errors as for `load`."""
    location = locate(path, subfolder)
    return dictionary_files(location, format or format_at(location))


def _format_of_file(path: Path) -> str:
    beside = [file.name for file in path.parent.iterdir() if file.is_file()]
    fitting = [name for name in formats_of(beside) if path.name in FILES[name]]
    if len(fitting) == 1:
        return fitting[0]
    if path.suffix == ".npz":
        return "tensors"
    if path.suffix != ".safetensors":
        raise SourceError(f"{path}: is no dictionary; give its folder, or a file that ends in {' or '.join(PLAIN)}")
    with parsing(path, "safetensors"), safe_open(path, "np") as file:
        return "sdlcore" if "sdlcore" in (file.metadata() or {}) else "tensors"


def formats_of(names: list[str]) -> list[str]:
    """Return the readable formats whose files are all among these names."""
    return [name for name in READ if set(FILES[name]) <= set(names)]
