"""Train a protocol on the bench in memory, and look at the dictionary every 40 steps under all readings."""

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.data.pairs import make_direction_pair, make_pair, pair_sites
from sdlcore.data.recovery_rule import TAUS, recovered
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.sources.bench.feature_matrix import feature_matrix
from sdlcore.sources.bench.samples import coefficients, synthesise
from sdlcore.sources.bench.seed_leak import leaked_start
from sdlcore.sources.bench.settings import FeatureMatrixConfig
from sdlcore.study.explain.protocols import SAMPLES, Protocol, Scale
from sdlcore.training.schedules import learning_rate
from sdlcore.training.step import TrainingStep

log = logging.getLogger(__name__)

EVERY = 40
"""Steps between looks."""
TEST = 2000
"""Samples not trained on, that L0 and FVU are measured on."""
THRESHOLDS = (*TAUS, 0.97)
"""Taus at which recovery is counted: the paper's two, and one near which high learning rates give its recovery."""
ABOVE = (0.0, 0.01, 0.1)
"""Latents above these count as active."""

Look = dict[str, float]
"""``step``, ``fvu``, ``l0_0``, ``l0_0.01``, ``l0_0.1`` (of samples in which a feature is active: at a quarter of the
scale a twelfth are empty), and for either side and similarity MIP and recovery at each tau of the features that are not
anchored, such as ``encoder_cosine_mip`` and ``decoder_inner_0.95``."""


class Side(NamedTuple):
    """One representation of a bench's samples."""

    W: np.ndarray
    """n_p x n features."""
    x: np.ndarray
    """Training samples, then `TEST` others: x n_p."""


@lru_cache(6)  # a third of a gigabyte each at the paper's scale
def side(scale: Scale, which: str, seed_leak: bool, seed: int) -> Side:
    """Draw a side of a bench as the pipeline does, in memory: ``input``, or a target (`Protocol.target`)."""
    if which == "same":
        return side(scale, "input", seed_leak, seed)
    if which == "rotated":
        rotation, _ = np.linalg.qr(stream(seed, "rotation").standard_normal((scale.n_p, scale.n_p)))
        W = (rotation @ side(scale, "input", seed_leak, seed).W).astype(np.float32)
    else:
        start = leaked_start(scale.n_p, scale.n, seed) if seed_leak else None
        drawn = stream(seed, "feature matrix", "W_p" if which == "input" else "W_r")
        W = feature_matrix(scale.n_p, scale.n, drawn, FeatureMatrixConfig(scale.max_interference), start).W
    x = coefficients(SAMPLES + TEST, scale.n, scale.sparsity, stream(seed, "samples"))
    return Side(W, synthesise(x, W))


def looks(protocol: Protocol, method: str, scale: Scale, seed: int, anchored: bool = False) -> list[Look]:
    """Train a method by a protocol, and return a look after every `EVERY` steps and after the last.

    A training that diverges is looked at no more. Rows are read as they were trained: where inputs are scaled, inner
    products are of rows for scaled inputs.
    """
    config = protocol.config(method, scale, anchored)
    pair, training = config.model.pair, config.training
    sides = [side(scale, which, protocol.seed_leak, seed) for which in ("input", protocol.target)]
    first, second = (_inputs(drawn.x, protocol) for drawn in (sides if pair != "sae" else sides[:1] * 2))
    x_p, x_r = (torch.from_numpy(x) for x in make_pair(pair, first, second))
    true_p, true_r = (torch.from_numpy(w) for w in make_direction_pair(pair, sides[0].W.T, sides[1].W.T))
    features = np.sort(stream(seed, "anchors").choice(scale.n, scale.n_anchors if anchored else 0, replace=False))
    others = np.setdiff1d(np.arange(scale.n), features)
    model = SparseCoder(config.model, *pair_sites(pair, scale.n_p, scale.n_p), torch_stream(seed, "initialisation"))
    model.train()
    take_step = TrainingStep(model, config, (true_p[features], true_r[features]) if anchored else None)
    order = _order(training.batch_size, seed)
    found = []
    for step in range(training.steps):
        rows = next(order)
        x_BP = x_p[rows]
        x_BR = x_BP if pair != "transcoder" else x_r[rows]
        lr = learning_rate(step, training.steps, training.lr, training.lr_warmup, training.lr_decay)
        take_step(x_BP, x_BR, lr, step=step)
        if (step + 1) % EVERY == 0 or step + 1 == training.steps:
            look = _look(model, x_p[SAMPLES:], x_r[SAMPLES:], (true_p[others], true_r[others]))
            if not np.isfinite(look["fvu"]) or look["fvu"] > 1e3:
                log.info("%s diverged before step %d", method, step + 1)
                break
            found.append({"step": step + 1, **look})
    return found


def _inputs(x: np.ndarray, protocol: Protocol) -> np.ndarray:
    if protocol.inputs == "raw":
        return x
    if protocol.inputs == "unit":
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    centred = x - x[:SAMPLES].mean(0)
    return centred * np.float32(x.shape[1] ** 0.5 / np.linalg.norm(centred[:SAMPLES], axis=1).mean())


def _order(batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield the rows of batch after batch: every sample once a pass."""
    rng = stream(seed, "order")
    left = torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < batch_size:
            left = torch.cat([left, torch.from_numpy(rng.permutation(SAMPLES))])
        yield left[:batch_size]
        left = left[batch_size:]


@torch.no_grad()
def _look(model: SparseCoder, x_p: Tensor, x_r: Tensor, true: tuple[Tensor, Tensor]) -> Look:
    model.eval()
    out = model(x_p)
    model.train()
    error = (x_r - out.x_hat).square().sum(1).mean()
    look = {"fvu": float(error / x_r.var(dim=0, correction=0).sum())}
    filled = max(1, int(x_r.any(1).sum()))
    look |= {f"l0_{above:g}": float((out.values > above).sum()) / filled for above in ABOVE}
    for side, W, directions in (("encoder", model.W_enc, true[0]), ("decoder", model.W_dec, true[1])):
        inner = (directions @ W.T).abs()
        best = {"cosine": (inner / W.norm(dim=1).clamp(min=1e-12)).amax(1), "inner": inner.amax(1)}
        for similarity, value in best.items():
            look[f"{side}_{similarity}_mip"] = float(value.mean())
            look |= {f"{side}_{similarity}_{tau:g}": float(recovered(value, tau).float().mean()) for tau in THRESHOLDS}
    return look
