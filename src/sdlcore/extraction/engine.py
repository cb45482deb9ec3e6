"""Run a model over batches of inputs, and turn the activations at several places into rows.

A `Call` contains the inputs of one pass: packed contexts, or items such as images. `activations` runs the model in
evaluation mode, up to the deepest place.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.errors import SourceError
from sdlcore.extraction.config import TokensOf
from sdlcore.extraction.hooks import Point, ids_for, is_transformers, without_dropout
from sdlcore.extraction.text import WHOLE
from sdlcore.extraction.tokens import KEPT, RowKinds, TokenisedText, Tokens, stack_batches

T = TypeVar("T")

MEDIAN_ROWS = 2048
"""Tokens that the median norm is measured on: enough for a steady median, few enough to run twice."""
WITHIN = {"all": "position", "patches": "patch"}
"""Reference for the index of a row in its item, by `TokensOf`; the others give one row for each item."""
PREFIXES = ("cls_token", "class_token", "class_embedding", "register_tokens", "reg_token", "dist_token")
"""Parameters of vision transformers that are tokens before the patches."""


class Call(NamedTuple):
    """The inputs of one pass of a model."""

    inputs: Any
    """A tensor, a tuple of arguments, or a mapping of keywords; None if no item of the batch could be read."""
    origin: Any
    """`Tokens` or `Items`, which the engine returns with the rows. Its ``next`` is where the next call begins."""


class Items(NamedTuple):
    """The items of one pass: images, documents, or inputs that are ready."""

    indices: list[int]
    """Number of each item."""
    next: int
    """Number of the item that the next pass begins with."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Path and reason of each item that could not be read so far."""
    lengths: Tensor | None = None
    """Number of tokens of each item, where items are padded."""


class ActivationBatch(NamedTuple):
    """The activations from one pass."""

    origin: Any
    """`Call.origin`."""
    values: dict[Any, np.ndarray]
    """N x D activations at each place."""
    norms: dict[Any, np.ndarray]
    """N norms of the activations at each place, before rounding."""


ToRows = Callable[[Tensor, Any], Tensor]
"""Turns the activations at a place into N x D rows, given the origin of their call."""


class _Enough(Exception):
    """Signal that a pass has reached the last place and can stop."""


def activations(
    model: nn.Module, points: Mapping[Any, Point], calls: Iterable[Call], rows: ToRows, dtype: str = "float16"
) -> Generator[ActivationBatch, None, None]:
    """Yield the activations at several places for each call, as rows of precision ``dtype``.

    NumPy lacks bfloat16, so rows for a store in bfloat16 are float32. Close the generator, since its hooks stay in the
    model until it ends. SourceError if a pass of the model never reaches one of the places.
    """
    precision = torch.float32 if dtype == "bfloat16" else getattr(torch, dtype)
    device = device_of(model)
    batch: ActivationBatch

    def see(name: Any, x: Tensor) -> None:
        x_ND = rows(x, batch.origin)
        # copied, since the model may change its activations in place
        batch.values[name] = x_ND.to(precision, copy=True).cpu().numpy()
        batch.norms[name] = norms_of(x_ND).cpu().numpy()
        if len(batch.values) == len(points):
            raise _Enough

    with ExitStack() as hooks:
        for name, point in points.items():
            hooks.callback(point.watch(partial(see, name)).remove)
        for inputs, origin in calls:
            batch = ActivationBatch(origin, {}, {})
            if inputs is not None:
                _run(model, _to_device(inputs, device))
                if missing := points.keys() - batch.values:
                    names = ", ".join(map(str, missing))
                    raise SourceError(f"no pass of the model reaches {names}; choose another place")
            yield batch


def _run(model: nn.Module, inputs: Any) -> None:
    with torch.inference_mode(), without_dropout(model):
        try:
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*(inputs if isinstance(inputs, tuple | list) else (inputs,)))
        except _Enough:
            pass


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def norms_of(x: Tensor) -> Tensor:
    """Return the norms of rows, in float32. Torch computes norms of float64 in no lower precision."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).float()


def _to_device(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _to_device(part, device) for name, part in inputs.items()}
    return type(inputs)(_to_device(part, device) for part in inputs) if isinstance(inputs, tuple | list) else inputs


def rows_by(tokens: TokensOf, prefix: int = 0) -> ToRows:
    """Return the function from the activations of items at a place, B x T x D or B x D, to rows.

    Feature maps of convolutions, B x D x H x W, count as B x (H W) x D.

    Parameters
    ----------
    tokens
        all: a row for each token; patches: for each token after the first ``prefix``; cls: the first token; last: the
        last token; mean: the mean over tokens. At a place with one row for each item, B x D, this row.
    prefix
        Number of tokens before the patches.
    """

    def rows(x: Tensor, items: Items) -> Tensor:
        if x.ndim == 4:
            x = x.flatten(2).mT
        if len(x) != len(items.indices) or x.ndim not in (2, 3) or (x.ndim == 2 and tokens == "patches"):
            raise SourceError(
                f"a place has activations of shape {tuple(x.shape)}, expected {len(items.indices)} items x tokens x "
                f"dimension for tokens = {tokens!r}; take another module, or another value of tokens"
            )
        if x.ndim == 2 or tokens == "cls":
            return x if x.ndim == 2 else x[:, 0]
        if tokens == "last":
            return x[:, -1] if items.lengths is None else x[torch.arange(len(x)), items.lengths - 1]
        if tokens == "mean":
            return x.mean(1) if items.lengths is None else _masked_mean(x, items.lengths)
        return x[:, prefix if tokens == "patches" else 0 :].flatten(0, 1)

    return rows


def _masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    mask = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def prefix_of(model: nn.Module) -> int:
    """Return the number of tokens before the patches in a vision transformer, such as its class token (`PREFIXES`)."""
    tokens = {name: parameter for name, parameter in model.named_parameters() if name.split(".")[-1] in PREFIXES}
    return sum(parameter.shape[-2] if parameter.ndim == 3 else 1 for parameter in tokens.values())


def token_rows(x: Tensor, tokens: Tokens) -> Tensor:
    """Return a row for each token of packed contexts from B x T x D activations, which some modules flatten."""
    shape = tokens.token.shape
    if x.ndim == 3 and x.shape[:2] == shape:
        return x.flatten(0, 1)
    if x.ndim == 2 and len(x) == shape[0] * shape[1]:
        return x
    raise SourceError(f"a place has activations of shape {tuple(x.shape)}, expected a row for each of {shape} tokens")


def token_inputs(model: nn.Module, token: np.ndarray, **keywords: Any) -> Any:
    """Return the inputs of a pass over token ids (B x T); only models of transformers receive ``keywords``."""
    ids_BT = ids_for(model, token)
    if not is_transformers(model):
        return ids_BT
    # a TransformerBridge of TransformerLens has all attributes of a model of transformers, but names the ids input
    return {"input" if hasattr(model, "run_with_hooks") else "input_ids": ids_BT, **keywords}


def read_contexts(
    model: nn.Module, points: Mapping[Any, Point], contexts: Iterable[Tokens], contexts_per_batch: int
) -> Generator[ActivationBatch, None, None]:
    """Yield the activations at places for each batch of contexts, float16: a row for each of the B x T tokens."""
    return activations(model, points, context_calls(model, stack_batches(contexts, contexts_per_batch)), token_rows)


def median_norms(model: nn.Module, text: TokenisedText, points: Mapping[T, Point]) -> dict[T, float] | None:
    """Return the median norm at each place, over the first contexts of a text, or None if they have no token to count.

    The contexts have about `MEDIAN_ROWS` tokens; position 0 and separators do not count. All shares of a text have
    the same medians.
    """
    ordinary = RowKinds(text.separator, {}, ("first_position", "separator"))
    contexts = islice(text.contexts(share=WHOLE), math.ceil(MEDIAN_ROWS / text.context_length))
    norms: dict[T, list[np.ndarray]] = {name: [] for name in points}
    for batch in read_contexts(model, points, contexts, text.contexts_per_batch):
        mask = ordinary.of(batch.origin, batch.norms) == KEPT
        for name, values in batch.norms.items():
            norms[name].append(values[mask])
    if not any(len(part) for parts in norms.values() for part in parts):
        return None
    return {name: float(np.median(np.concatenate(parts))) for name, parts in norms.items()}


def context_calls(model: nn.Module, batches: Iterable[Tokens]) -> Iterator[Call]:
    """Yield a call for each batch of packed contexts (B x T)."""
    keywords = {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}
    for tokens in batches:
        yield Call(token_inputs(model, tokens.token, **keywords), tokens)
