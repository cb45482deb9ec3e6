"""Train a protocol on the bench in memory, and look at the dictionary every 40 steps under all readings."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import product, takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore import Bench, DivergedError
from sdlcore.pipeline import (
    SIDES,
    TAU,
    TAU_STRICT,
    Arrays,
    Similarity,
    coefficients,
    initial_model,
    make_direction_pair,
    make_pair,
    no_scaling,
    recovered,
    stream,
    torch_stream,
    train,
)
from sdlcore.study.explain.protocols import Protocol, Scale

log = logging.getLogger(__name__)

TEST = 2000
"""Samples not trained on, that L0 and FVU are measured on."""
THRESHOLDS = (TAU, TAU_STRICT, 0.97)
"""Taus at which recovery is counted: the paper's two, and one near which high learning rates give its recovery."""
ABOVE = (0.0, 0.01, 0.1)
"""Latents above these count as active."""

_SHORT: dict[str, str] = {Similarity.COSINE: "cosine", Similarity.INNER: "inner"}


def l0_column(above: float) -> str:
    """Return the name of the number of latents above a value, of samples in which a feature is active: at a quarter of
    the scale a twelfth are empty."""
    return f"l0_{above:g}"


def mip_column(side: str, similarity: str) -> str:
    """Return the name of an MIP, such as ``encoder_cosine_mip``."""
    return f"{side}_{_SHORT[similarity]}_mip"


def recovery_column(side: str, similarity: str, tau: float) -> str:
    """Return the name of a recovery, such as ``decoder_inner_0.95``."""
    return f"{side}_{_SHORT[similarity]}_{tau:g}"


_MATCHES = list(product(SIDES, (Similarity.COSINE, Similarity.INNER)))
RECOVERIES = [recovery_column(*match, tau) for match, tau in product(_MATCHES, THRESHOLDS)]
MIPS = [mip_column(*match) for match in _MATCHES]
L0S = [l0_column(above) for above in ABOVE]
COLUMNS = ["fvu", *L0S, *MIPS, *RECOVERIES]
Look = dict[str, float]
"""``step`` and `COLUMNS`; recovery and MIP are of the features that are not anchored."""


DIVERGED = 1e3
"""FVU above which a training counts as diverged, though its loss is finite."""


class Representation(NamedTuple):
    """One representation of a bench's samples."""

    W: np.ndarray
    """n_p x n features."""
    x: np.ndarray
    """Training samples, then `TEST` others: x n_p."""


@lru_cache(6)  # a third of a gigabyte each at the paper's scale
def representation(scale: Scale, which: str, seed_leak: bool, seed: int) -> Representation:
    """Draw a representation of a bench as the pipeline does, in memory: ``input``, or a target (`Protocol.target`)."""
    if which == "same":
        return representation(scale, "input", seed_leak, seed)
    if which == "rotated":
        rotation, _ = np.linalg.qr(stream(seed, "rotation").standard_normal((scale.n_p, scale.n_p)))
        W = (rotation @ representation(scale, "input", seed_leak, seed).W).astype(np.float32)
    else:
        sizes = {"n": scale.n, "n_p": scale.n_p, "n_r": None if which == "input" else scale.n_p}
        bench = Bench.draw(seed=seed, **sizes, max_interference=scale.max_interference, seed_leak=seed_leak)
        W = bench.W_p if bench.W_r is None else bench.W_r
    x = coefficients(scale.samples + TEST, scale.n, scale.sparsity, stream(seed, "samples"))
    return Representation(W, np.asarray(x @ W.T, dtype=np.float32))


def looks(protocol: Protocol, method: str, scale: Scale, seed: int, anchored: bool = False) -> list[Look]:
    """Train a method by a protocol, and return a look after every `EVERY` steps and after the last.

    A training that diverges is looked at no more. Rows are read as they were trained: where inputs are scaled, inner
    products are of rows for scaled inputs.
    """
    config = protocol.config(method, scale, anchored)
    pair = config.model.pair
    drawn = [representation(scale, which, protocol.seed_leak, seed) for which in ("input", protocol.target)]
    first, second = (
        scaled(found.x, protocol.inputs, scale.samples) for found in (drawn if pair != "sae" else drawn[:1] * 2)
    )
    x_p, x_r = make_pair(pair, first, second)
    true_p, true_r = (torch.from_numpy(w) for w in make_direction_pair(pair, drawn[0].W.T, drawn[1].W.T))
    features = np.sort(stream(seed, "anchors").choice(scale.n, scale.n_anchors if anchored else 0, replace=False))
    others = np.setdiff1d(np.arange(scale.n), features)
    order = _order(config.training.steps * config.training.batch_size, scale.samples, seed)

    def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = order[step * config.training.batch_size :][: config.training.batch_size]
        batch = x_p[rows]
        return batch, x_r[rows] if pair == "transcoder" else batch

    scaling = no_scaling(x_p.shape[1], x_r.shape[1])
    model = initial_model(
        config.model,
        (scale.n_p, scale.n_p),
        seed,
        scaling,
        lambda: Arrays(first[: scale.samples], second[: scale.samples]),
    )
    test_p, test_r = (torch.from_numpy(x[scale.samples :]) for x in (x_p, x_r))
    found: list[Look] = []

    @contextmanager
    def keep(_: Sequence[Look]) -> Iterator[Callable[[Look], None]]:
        yield found.append

    try:
        train(
            model,
            batches,
            config,
            torch_stream(seed, "resampling"),
            scaling,
            (true_p[features], true_r[features]) if anchored else None,
            sinks=[keep],
            watch=lambda _: _look(model, test_p, test_r, (true_p[others], true_r[others])),
        )
    except DivergedError as error:
        log.info("%s: %s", method, error)
    kept = takewhile(lambda row: row["fvu"] <= DIVERGED, found)
    return [{name: row[name] for name in ("step", *COLUMNS)} for row in kept]


def scaled(x: np.ndarray, how: str, samples: int) -> np.ndarray:
    """Return samples as a protocol has them (`Protocol.inputs`), by what the first ``samples`` of them say."""
    if how == "raw":
        return x
    if how == "unit":
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    centred = x - x[:samples].mean(0)
    return centred * np.float32(x.shape[1] ** 0.5 / np.linalg.norm(centred[:samples], axis=1).mean())


def _order(number: int, samples: int, seed: int) -> np.ndarray:
    """Return which sample comes when: every sample once a pass."""
    rng = stream(seed, "order")
    return np.concatenate([rng.permutation(samples) for _ in range(-(-number // samples))])


@torch.no_grad()
def _look(model: Any, x_p: Tensor, x_r: Tensor, true: tuple[Tensor, Tensor]) -> Look:
    model.eval()
    out = model(x_p)
    model.train()
    error = (x_r - out.x_hat).square().sum(1).mean()
    look = {"fvu": float(error / x_r.var(dim=0, correction=0).sum())}
    filled = max(1, int(x_r.any(1).sum()))
    look |= {l0_column(above): float((out.values > above).sum()) / filled for above in ABOVE}
    for side, W, directions in (("encoder", model.W_enc, true[0]), ("decoder", model.W_dec, true[1])):
        inner = (directions @ W.T).abs()
        best = {Similarity.COSINE: (inner / W.norm(dim=1).clamp(min=1e-12)).amax(1), Similarity.INNER: inner.amax(1)}
        for similarity, value in best.items():
            look[mip_column(side, similarity)] = float(value.mean())
            for tau in THRESHOLDS:
                look[recovery_column(side, similarity, tau)] = float(recovered(value, tau).float().mean())
    return look
