"""Tell where a dictionary lies and in which format, by the names of files.

Kept apart, since the pipeline asks it before anything heavy is loaded.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from sdlcore.errors import SourceError
from sdlcore.sources.language.hub_names import is_hub_model
from sdlcore.text import listed

FILES = {
    "saelens": ("sae_weights.safetensors", "cfg.json"),
    "dictionary_learning": ("ae.pt", "config.json"),
    "sparsify": ("sae.safetensors", "cfg.json"),
    "circuit_tracer": ("layer_*.safetensors", "config.yaml"),
}
"""Names of the files that make a folder one of each format, or patterns; the last says what the others are."""
READ = ("saelens", "dictionary_learning", "sparsify")
"""Formats that are read."""
OURS = "model.safetensors"
"""What the dictionary of one of our runs is called."""
PLAIN = (".safetensors", ".npz")
"""How files of plain tensors end."""
RELEASE = (
    'if it is a SAELens release, write its repository and folder, load("OWNER/NAME", subfolder="FOLDER"), which the '
    "library's pretrained_saes.yaml lists as repo_id and path"
)
"""What to write for a name that only SAELens knows, such as gpt2-small-res-jb."""


def locate(path: str | Path, subfolder: str = "", revision: str | None = None) -> Path:
    """Return where a dictionary lies on this machine, fetched from the hub if need be; `load` says what these are."""
    if is_hub_model(str(path)):
        from sdlcore.sources.language.hub import dictionary_snapshot  # takes an optional library

        name = str(path)
        path = dictionary_snapshot(name, revision, _patterns(subfolder), RELEASE)
        if not (found := path / subfolder).exists() or (found.is_dir() and not any(found.iterdir())):
            raise SourceError(
                f"{name}: the hub's repository has no dictionary in {subfolder or 'its top folder'} ({_expected()}); "
                "give the folder that has one as subfolder; for plain tensors, such as Gemma Scope's, name the file: "
                f'subfolder="{subfolder or "FOLDER"}/params.npz"'
            )
    elif revision is not None:
        raise ValueError(f"{path}: is a path on this machine, which has no revisions; leave out revision")
    found = Path(path) / subfolder
    if not found.exists():
        advice = f"; {RELEASE}" if "/" not in str(path) else ""
        raise SourceError(f"{found}: neither a file or folder on this machine nor OWNER/NAME at the hub{advice}")
    return found


def _patterns(subfolder: str) -> list[str]:
    """Return the files to fetch from a repository: those of all formats in a folder, or the one file that is named."""
    if subfolder.endswith(PLAIN):
        return [subfolder]
    names = {name for found in READ for name in FILES[found]} | {OURS}
    return [f"{subfolder}/{name}" if subfolder else name for name in sorted(names)]


def _expected() -> str:
    return "; ".join([f"sdlcore: {OURS}", *(f"{name}: {' and '.join(FILES[name])}" for name in READ)])


def format_at(path: Path) -> str:
    """Return the format of a file or folder by its name, or the names of the files in it."""
    if path.is_file():
        return _format_of_file(path)
    if not path.is_dir():
        raise SourceError(f"{path}: neither a regular file nor a folder")
    here = sorted(found.name for found in path.iterdir() if found.is_file())
    fitting = _formats_of(here) + (["sdlcore"] if OURS in here else [])
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SourceError(f"{path}: holds dictionaries in several formats; give format, one of {', '.join(fitting)}")
    inside = sorted(found.name for found in path.iterdir() if found.is_dir() and any(found.glob("*.safetensors")))
    if inside:
        raise SourceError(f"{path}: there are dictionaries in {listed(inside)}: give such a folder, {path / inside[0]}")
    plain = [name for name in here if name.endswith(PLAIN)]
    advice = f"; {listed(plain)} may hold plain tensors: give the file, and say how they are used" if plain else ""
    raise SourceError(f"{path}: holds no dictionary in a format that is known ({_expected()}){advice}")


def dictionary_files(path: Path, format: str) -> list[Path]:
    """Return the files that a dictionary in a format is read from, at a file or folder of its own."""
    if format in FILES:
        folder = path.parent if path.is_file() else path
        return [folder / name for name in FILES[format]]
    return [path / OURS if path.is_dir() else path]


def _format_of_file(path: Path) -> str:
    if path.suffix not in (*PLAIN, ".pt", ".json"):
        raise SourceError(f"{path}: expected a folder, or a file that ends in {' or '.join(PLAIN)}")
    beside = [found.name for found in path.parent.iterdir() if found.is_file()]
    fitting = [name for name in _formats_of(beside) if path.name in FILES[name]]
    if len(fitting) == 1:
        return fitting[0]
    if path.suffix == ".npz":
        return "tensors"
    if path.suffix != ".safetensors":
        raise SourceError(f"{path}: is no dictionary by itself; give the folder that it belongs to")
    try:
        with safe_open(path, "np") as file:
            return "sdlcore" if "sdlcore" in (file.metadata() or {}) else "tensors"
    except (OSError, SafetensorError) as error:
        raise SourceError(f"{path}: not a readable safetensors file ({error})") from error


def _formats_of(names: list[str]) -> list[str]:
    """Return the formats that files of these names make, of those that are read."""
    return [found for found in READ if set(FILES[found]) <= set(names)]
