"""Write dictionaries in other libraries' formats."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

from sdlcore.config import Searched
from sdlcore.errors import RefusedError
from sdlcore.interop import circuit_tracer, dictionary_learning, saelens, sparsify
from sdlcore.interop.base import Files, Format, kind_of
from sdlcore.interop.formats import FILES, OURS, canonical
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.storage.files import atomic_path, user_path

FORMATS: dict[str, Format] = {
    "saelens": saelens.FORMAT,
    "dictionary_learning": dictionary_learning.FORMAT,
    "sparsify": sparsify.FORMAT,
    "circuit_tracer": circuit_tracer.FORMAT,
}


def export(models: SparseCoder | Sequence[SparseCoder], to: str, folder: str | Path, /, **options: Any) -> Path:
    """Export a model, or models for all layers in order, to another library's format, and return the folder.

    See `sdlcore.export` and `sdlcore.export_set`.
    """
    form = format_of(to)
    layers = [models] if isinstance(models, SparseCoder) else list(models)
    if not isinstance(models, SparseCoder) and not form.is_set:
        sets = ", ".join(name for name, other in FORMATS.items() if other.is_set)
        raise ValueError(f"{to} needs a folder for each dictionary; export one by one, since only {sets} takes sets")
    for layer, model in enumerate(layers, start=1):
        if reason := refusal(model, to):
            where = f"layer {layer}: " if len(layers) > 1 else ""
            raise RefusedError(f"{where}{form.title} cannot express this {kind_of(model)}: {reason}")
    return _write(user_path(folder, "folder"), form.write(layers if form.is_set else layers[0], **options))


def format_of(to: str) -> Format:
    """Look up a format to export to. Case and hyphens do not matter."""
    if (name := canonical(to)) not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, found {to!r}")
    return FORMATS[name]


def refusal(model: SparseCoder, to: str) -> str | None:
    """Return why a library cannot express a dictionary, and a remedy; None if it can."""
    config, form, state = model.config, format_of(to), model.state_dict()
    if config.activation in get_args(Searched) and form is not saelens.FORMAT:
        return "its codes come from a search; fit an encoder by sdl.reencode first, or export it to saelens"
    if config.activation == "batchtopk" and state["sigma.threshold"] < 0:
        return "it has no threshold before its first training batch; train it"
    if broken := not_finite(state):
        return f"{broken}; train it again, with a lower lr if it diverged"
    return form.refusal(model)


def _write(folder: Path, files: Files) -> Path:
    """Write files, each atomically. An unfinished folder lacks the file that describes the others."""
    patterns = {pattern for names in FILES.values() for pattern in names} | {OURS}
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name not in files and any(fnmatch(path.name, pattern) for pattern in patterns):
            raise ValueError(f"{folder}: contains {path.name} of another dictionary; choose another folder")
    *rest, last = files
    (folder / last).unlink(missing_ok=True)
    for name in (*rest, last):
        with atomic_path(folder / name) as part:
            files[name](part)
    return folder
