"""Open the data of a training: arrays, stores, loaders, and recipes of computed samples."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from sdlcore.data.batches import Batches, Request, TrainingRows, stored_batches
from sdlcore.data.conversion import activations
from sdlcore.data.loaders import given_batches, is_stream
from sdlcore.data.reading import is_of_language_model
from sdlcore.device import choose_device
from sdlcore.errors import SourceError
from sdlcore.storage.files import sha256_of


@contextmanager
def open_batches(x: Any, target: Any = None, folder: Path | None = None, device: str = "auto") -> Iterator[Batches]:
    """Open the data that is given to `sdlcore.fit`.

    Parameters
    ----------
    x, target
        As in `sdlcore.fit`; or the path of a recipe (.json).
    folder
        Folder of the run, where the stream of a language model records its place in the text.
    device
        Device of the language model.

    Raises
    ------
    SourceError
        If a recipe cannot be read.
    """
    with ExitStack() as opened:
        if isinstance(x, Batches):
            yield x
        elif is_stream(x):
            yield given_batches(x, target)
        elif _is_recipe(x):
            yield _recipe_batches(Path(x), folder or Path(x).parent, choose_device(device), opened)
        else:
            yield stored_batches(opened.enter_context(activations(x, target)))


def gives_batches(x: Any) -> bool:
    """Tell whether an input gives batches itself, instead of samples that are read in random order."""
    return isinstance(x, Batches) or is_stream(x) or _is_recipe(x)


def _is_recipe(x: Any) -> bool:
    return isinstance(x, str | Path) and Path(x).suffix == ".json"


def _recipe_batches(path: Path, folder: Path, device: torch.device, opened: ExitStack) -> Batches:
    """Return samples that are computed during a training, as a recipe describes. Streams are closed by ``opened``."""
    try:
        recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        widths, kind, provenance = tuple(recipe["widths"]), recipe["format"], recipe["provenance"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: expected a recipe of samples ({error})") from error

    def begin(request: Request) -> TrainingRows:
        from sdlcore.benches import synth

        if kind == synth.FORMAT:
            return synth.synth_stream(path, request)
        from sdlcore.extraction.stream import open_language_stream

        return opened.enter_context(open_language_stream(path, request, folder, device))

    origin = provenance if is_of_language_model(provenance) else None
    return Batches(path, widths, begin, lambda: sha256_of(path), origin=origin)
