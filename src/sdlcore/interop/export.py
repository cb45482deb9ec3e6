"""Export dictionaries to other libraries' formats."""

import inspect
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

import torch

from sdlcore.errors import RefusedError
from sdlcore.interop.base import SAVE_OURS, Files, Format, kind_of
from sdlcore.interop.formats import OURS
from sdlcore.interop.registry import FORMATS, format_of
from sdlcore.model.coder import SparseCoder
from sdlcore.run import ModelConfig, Searched
from sdlcore.settings import checked
from sdlcore.storage.files import atomic_path
from sdlcore.storage.paths import user_path


def export(model: SparseCoder, to: str, folder: str | Path, /, **options: Any) -> Path:
    """Export a model to another library's format, and return the folder; see `sdlcore.export`."""
    _, form = format_of(to)
    check_expressible(model, form)
    options = _checked_options(form, options)
    return _write(form, user_path(folder, "folder"), form.write([model] if form.is_set else model, **options))


def export_set(models: Sequence[SparseCoder], to: str, folder: str | Path, **options: Any) -> Path:
    """Export models for all layers of a language model, in the order of the layers; see `sdlcore.export_set`."""
    name, form = format_of(to)
    if not form.is_set:
        sets = ", ".join(name for name, one in FORMATS.items() if one.is_set)
        raise ValueError(f"{name} needs a folder for each dictionary; export one by one, since only {sets} takes sets")
    if not models:
        raise ValueError("a set needs a dictionary for each layer of the language model, found none")
    for layer, model in enumerate(models, start=1):
        check_expressible(model, form, f"layer {layer}: ")
    options = _checked_options(form, options)
    return _write(form, user_path(folder, "folder"), form.write(models, **options))


def refusal(model: SparseCoder, to: str) -> str | None:
    """Return why a library cannot express a dictionary, and a remedy; None if it can."""
    return _refusal(model, format_of(to)[1])


def check_settings(config: ModelConfig, to: str) -> None:
    """Raise `RefusedError` if a library cannot express dictionaries that are trained with these settings."""
    _, form = format_of(to)
    sites = (1, 1) if config.pair == "crosscoder" else (1,)
    small = SparseCoder(config.changed(n_q=config.k or 1), sites, sites, torch.Generator())
    if reason := form.refusal(small):
        raise _refused(small, form, reason)


def check_expressible(model: SparseCoder, to: Format, where: str = "") -> None:
    """Raise `RefusedError` if a library cannot express a dictionary. The message begins with ``where``."""
    if reason := _refusal(model, to):
        raise _refused(model, to, reason, where)


def _refused(model: SparseCoder, to: Format, reason: str, where: str = "") -> RefusedError:
    kind = kind_of(model)
    article = "an" if kind[0] in "aeiou" else "a"
    return RefusedError(f"{where}{to.title} cannot express {article} {kind}: {reason}")


def _refusal(model: SparseCoder, to: Format) -> str | None:
    if model.config.pursuit and not to.any_encoder:
        return (
            "its encoder takes several steps; export it to saelens, fit another encoder with sdl.reencode, or "
            f"{SAVE_OURS}"
        )
    if model.config.activation in get_args(Searched) and not to.any_encoder:
        return "its codes come from a search; fit an encoder by sdl.reencode first, or export it to saelens"
    state = model.state_dict()
    if model.config.activation == "batchtopk" and state["sigma.threshold"] < 0:
        return "it has no threshold before its first training batch; train it"
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        return f"its {', '.join(broken)} contain NaN or infinity; train it again, with a lower lr if it diverged"
    return to.refusal(model)


def _checked_options(to: Format, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with Python's numbers for NumPy's, which JSON does not take."""
    parameters = inspect.signature(to.write).parameters.values()
    types = {
        parameter.name: parameter.annotation for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
    if unknown := sorted(options.keys() - types.keys()):
        expected = f"expected some of {', '.join(types)}" if types else "it has none"
        raise ValueError(f"{to.title} has no option {', '.join(unknown)}; {expected}")
    return {name: checked(name, types[name], value) for name, value in options.items()}


def _write(to: Format, folder: Path, files: Files) -> Path:
    """Write files, each atomically. An unfinished folder lacks the file that describes the others."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, expected a folder to write to")
    patterns = {pattern for one in FORMATS.values() for pattern in one.files} | {OURS}
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name not in files and any(fnmatch(path.name, pattern) for pattern in patterns):
            raise ValueError(f"{folder}: contains {path.name} of another dictionary; choose another folder")
    *rest, last = files
    (folder / last).unlink(missing_ok=True)
    for name in (*rest, last):
        with atomic_path(folder / name) as part:
            files[name](part)
    return folder
