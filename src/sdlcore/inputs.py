"""Open data of any kind that trainings take: arrays, stores, loaders, and recipes of computed samples."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from sdlcore.data.batches import Batches, Request, TrainingRows, stored_batches
from sdlcore.data.conversion import activations
from sdlcore.data.loaders import given_batches, is_stream
from sdlcore.data.pairs import all_sites
from sdlcore.data.reading import is_of_language_model
from sdlcore.device import Device, choose_device
from sdlcore.errors import SourceError
from sdlcore.storage.files import sha256_of


@contextmanager
def open_batches(x: Any, target: Any = None, folder: Path | None = None, device: Device = "auto") -> Iterator[Batches]:
    """Open data of any kind that `sdlcore.fit` takes.

    Parameters
    ----------
    x, target
        As in `sdlcore.fit`; or the path of a recipe (.json).
    folder, device
        As in `recipe_batches`.
    """
    if isinstance(x, Batches):
        yield x
    elif is_stream(x):
        yield given_batches(x, target)
    elif _is_recipe(x):
        with recipe_batches(Path(x), folder or Path(x).parent, device) as batches:
            yield batches
    else:
        with activations(x, target) as samples:
            yield stored_batches(samples)


def gives_batches(x: Any) -> bool:
    """Tell whether an input gives batches itself, instead of samples that are read in random order."""
    return isinstance(x, Batches) or is_stream(x) or _is_recipe(x)


def _is_recipe(x: Any) -> bool:
    return isinstance(x, str | Path) and Path(x).suffix == ".json"


Opening = Callable[[Path, Request, Path, torch.device], AbstractContextManager[TrainingRows]]
"""Opens a recipe's rows, given path, pair, batch size, order, folder, device, and whether batches consist of pairs of
neighbouring tokens."""


@contextmanager
def recipe_batches(path: Path, folder: Path, device: Device = "auto") -> Iterator[Batches]:
    """Open samples that are computed during a training.

    Parameters
    ----------
    path
        A JSON file that describes the samples, of a synthetic bench or of a language model.
    folder
        Folder of the run, where the stream of a language model records its place in the text.
    device
        Device of the language model.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    try:
        recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        widths = all_sites(recipe["n_p"], recipe["n_r"], recipe.get("more", ()))
        provenance, open_rows = recipe["provenance"], _opening(recipe["format"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: expected a recipe of samples ({error})") from error

    with ExitStack() as opened:

        def begin(request: Request) -> TrainingRows:
            return opened.enter_context(open_rows(path, request, folder, choose_device(device)))

        origin = provenance if is_of_language_model(provenance) else None
        yield Batches(path, widths, begin, lambda: sha256_of(path), lambda: origin)


def _opening(name: str) -> Opening:
    from sdlcore.benches import synth

    if name == synth.FORMAT:
        return synth.open_synth_stream
    from sdlcore.extraction.stream import open_language_stream

    return open_language_stream
