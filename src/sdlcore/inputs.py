"""Open data of any kind that trainings take: arrays, stores, loaders, and recipes of computed samples."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from sdlcore.data.batches import Batches, Request, StoredBatches, TrainingRows
from sdlcore.data.conversion import activations
from sdlcore.data.loaders import GivenBatches, is_stream
from sdlcore.data.pairs import all_sites
from sdlcore.data.reading import is_of_language_model
from sdlcore.device import device_of
from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of


@contextmanager
def open_batches(x: Any, target: Any = None, folder: Path | None = None, device: str = "auto") -> Iterator[Batches]:
    """Open data of any kind that `sdlcore.fit` takes.

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
            yield GivenBatches(x, target)
        elif _is_recipe(x):
            yield RecipeBatches(Path(x), folder or Path(x).parent, device_of(device), opened)
        else:
            yield StoredBatches(opened.enter_context(activations(x, target)))


def gives_batches(x: Any) -> bool:
    """Tell whether an input gives batches itself, instead of samples that are read in random order."""
    return isinstance(x, Batches) or is_stream(x) or _is_recipe(x)


def _is_recipe(x: Any) -> bool:
    return isinstance(x, str | Path) and Path(x).suffix == ".json"


class RecipeBatches(Batches):
    """Samples that are computed during a training, as a recipe describes: a JSON file about a synthetic bench or a
    language model. Streams stay open until ``opened`` is closed. The other parameters are those of `open_batches`."""

    def __init__(self, path: Path, folder: Path, device: torch.device, opened: ExitStack) -> None:
        self.path, self._folder, self._device, self._opened = path, folder, device, opened
        try:
            recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self.widths = all_sites(recipe["n_p"], recipe["n_r"], recipe.get("more", ()))
            self._format, provenance = recipe["format"], recipe["provenance"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise SourceError(f"{path}: expected a recipe of samples ({error})") from error
        self.origin = provenance if is_of_language_model(provenance) else None

    def begin(self, request: Request) -> TrainingRows:
        from sdlcore.benches import synth

        if self._format == synth.FORMAT:
            return synth.synth_stream(self.path, request)
        from sdlcore.extraction.stream import open_language_stream

        stream = open_language_stream(self.path, request, self._folder, self._device)
        return self._opened.enter_context(stream)

    @property
    def digest(self) -> Json:
        return sha256_of(self.path)
