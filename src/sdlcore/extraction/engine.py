"""Run a model over batches of inputs, and return the activations at several places as rows.

The engine knows neither texts nor images. Inputs give `Call`s, and a function that turns the activations at a place
into rows; the engine runs the model in evaluation mode, up to the deepest place.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.extraction.hooks import Point, Watch


class Call(NamedTuple):
    """The inputs of one pass of a model."""

    inputs: Any
    """A tensor, a tuple of arguments, or a mapping of keywords."""
    origin: Any
    """Where the rows of this pass come from; the engine returns it with them."""


class Batch(NamedTuple):
    """The activations from one pass."""

    tokens: Any
    """`Call.origin`: for contexts, their tokens (B x T)."""
    values: dict[Any, np.ndarray]
    """N x D activations at each place, on the CPU."""
    norms: dict[Any, np.ndarray]
    """N norms of the activations at each place, before rounding."""


Rows = Callable[[Tensor, Any], Tensor]
"""Turns the activations at a place into N x D rows, given the origin of their call."""


def activations(
    model: nn.Module,
    points: Mapping[Any, Point],
    calls: Iterable[Call],
    rows: Rows,
    dtype: torch.dtype = torch.float16,
) -> Generator[Batch, None, None]:
    """Yield the activations at several places for each call.

    Close the generator, since its hooks stay in the model until it ends.

    Parameters
    ----------
    model
        Any module.
    points
        Name -> place.
    calls
        Inputs, on any device.
    rows
        Turns activations into rows.
    dtype
        Precision of the rows.
    """
    flight: _Flight

    def see(name: Any, x: Tensor) -> None:
        flight.take(name, rows(x, flight.origin), dtype)

    device = device_of(model)
    # a GPU computes the next batch while the previous batch is written; on a CPU that would only cost memory
    ahead = 1 if device.type == "cuda" else 0
    flights: deque[_Flight] = deque()
    with Watch(model, points, see) as watch:
        for inputs, origin in calls:
            flight = _Flight(origin)
            inputs = _on(inputs, device)
            if isinstance(inputs, Mapping):
                watch.run(**inputs)
            else:
                watch.run(*(inputs if isinstance(inputs, tuple | list) else (inputs,)))
            flights.append(flight.departed())
            if len(flights) > ahead:
                yield flights.popleft().landed()
        while flights:
            yield flights.popleft().landed()


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def norms_of(x: Tensor) -> Tensor:
    """Return the norms of rows, in float32. Torch computes norms of float64 in no lower precision."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).float()


def _on(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    if isinstance(inputs, Mapping):
        return {name: _on(part, device) for name, part in inputs.items()}
    return type(inputs)(_on(part, device) for part in inputs) if isinstance(inputs, tuple | list) else inputs


class _Flight:
    """A batch that is being copied from the device."""

    def __init__(self, origin: Any) -> None:
        self.origin = origin
        self._values: dict[Any, Tensor] = {}
        self._norms: dict[Any, Tensor] = {}
        self._arrival: torch.cuda.Event | None = None

    def take(self, name: Any, x_ND: Tensor, dtype: torch.dtype) -> None:
        """Copy rows. After this call, the model may change the activations in place."""
        norm_N = norms_of(x_ND)
        # from a GPU into pinned memory, so that this returns at once
        self._values[name] = x_ND.to(dtype, copy=True).to("cpu", non_blocking=True)
        self._norms[name] = norm_N.to("cpu", non_blocking=True)
        if x_ND.is_cuda:
            self._arrival = torch.cuda.Event()

    def departed(self) -> "_Flight":
        if self._arrival is not None:
            self._arrival.record()
        return self

    def landed(self) -> Batch:
        """Wait for the batch and return it."""
        if self._arrival is not None:
            self._arrival.synchronize()
        values = {name: x.numpy() for name, x in self._values.items()}
        return Batch(self.origin, values, {name: norm.numpy() for name, norm in self._norms.items()})
