"""Samples that a recipe describes and a training computes, instead of reading them from a store."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from sdlcore.data.batches import Order, TrainingRows
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import all_sites
from sdlcore.data.reading import content_digest, is_of_language_model, provenance_of_rows
from sdlcore.device import Device, choose_device
from sdlcore.errors import SourceError, printable_cause
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.settings import Json, Pair, checked

Opening = Callable[[Path, str, int, Order, Path, torch.device, bool], AbstractContextManager[TrainingRows]]
"""Opens a recipe's rows, given path, pair, batch size, order, folder, device, and whether batches consist of pairs of
neighbouring tokens."""


class Recipe:
    """Samples that are computed during a training of `fit`; a `sdlcore.api.sources.Source` and a context manager.

    Parameters
    ----------
    path
        A JSON file that describes the samples.
    open_rows
        Opens them: `sdlcore.sources.synth.streaming.open_synth_stream` or
        `sdlcore.extraction.stream.open_language_stream`.
    folder
        Folder of the run, where the stream of a language model records its place in the text.
    device
        Device of the language model.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """

    rows = None
    unused: tuple[str, ...] = ()
    restarts = recorded = True

    def __init__(self, path: Path, open_rows: Opening, folder: Path, device: Device = "auto") -> None:
        self.path, self._open_rows, self._folder, self._device = path, open_rows, folder, choose_device(device)
        self._opened = ExitStack()
        try:
            recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self.widths = tuple(all_sites(recipe["n_p"], recipe["n_r"], recipe.get("more", ())))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: expected a recipe of samples ({error})") from printable_cause(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._opened.__exit__(*error)

    def pair_of(self, settings: Mapping[str, Any]) -> Pair:
        """Return the pair in the settings; sae without one."""
        return checked("pair", Pair, settings.get("pair") or "sae")

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the recipe."""
        return content_digest(self.path)

    def activations_made_by(self) -> Json:
        origin = dict(provenance_of_rows(self.path))
        return origin if is_of_language_model(origin) else None

    def first_samples(self, rows: int) -> np.ndarray:
        """Return the first samples of x_p (N x n_p), at most ``rows``. Call `training_rows` before, which starts to
        compute the samples."""
        return self._training_rows.sample().read("input", 0, rows)

    def stored(self, why: str) -> Activations:
        raise ValueError(f"{self.path}: {why}, but a recipe gives batches; give a store")

    def training_rows(self, config: RunConfig, seed: int) -> TrainingRows:
        order, batch_size, neighbours = partial(stream, seed, "order"), config.training.batch_size, config.loss.contrast
        self._training_rows = self._opened.enter_context(
            self._open_rows(
                *(self.path, config.model.pair, batch_size, order, self._folder, self._device, bool(neighbours))
            )
        )
        return self._training_rows
