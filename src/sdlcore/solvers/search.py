"""The interface of dictionary searches: how they start, what they report of a step, when they have settled."""

import logging
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.variance import total_variance

log = logging.getLogger(__name__)

Batches = Callable[[int], Tensor]
"""Gives x_r (B x n_r, float32) of a step, counted from 0."""
Row = dict[str, float]
"""Of a history: one step."""
Search = Callable[[Batches, SolverConfig, torch.Generator, Tensor | None], Iterator[tuple[Tensor, Row]]]
"""Takes batches, settings, the stream that the first atoms are drawn from, and atoms to start from instead (K x n_r);
yields the dictionary (K x n_r, unit rows) and the history's row of each step, until it settles."""


def initial_atoms(x_BR: Tensor, n_atoms: int, generator: torch.Generator, start: Tensor | None = None) -> Tensor:
    """Return unit atoms in the directions of random samples, each once; random directions beyond the samples.

    Samples are sums of few features, and so start nearer to features than random directions do. Where there are atoms
    to ``start`` from, those in their place.
    """
    order = torch.randperm(len(x_BR), generator=generator)
    order = order[x_BR[order].norm(dim=1) > 0][:n_atoms]
    random = torch.randn(n_atoms - len(order), x_BR.shape[1], generator=generator, dtype=x_BR.dtype)
    return torch.nn.functional.normalize(torch.cat([x_BR[order], random]) if start is None else start)


class Settled:
    """Tells when neither error nor atoms change any more, from the history alone."""

    def __init__(self, tolerance: float, patience: int) -> None:
        self.tolerance, self.patience = tolerance, patience
        self._seen: list[tuple[float, int]] = []

    def __call__(self, fvu: float, atoms: int) -> bool:
        """Take a step's error and number of atoms."""
        self._seen.append((fvu, atoms))
        if len(self._seen) <= self.patience:
            return False
        past = self._seen[-self.patience - 1 : -1]
        best = min(error for error, _ in past)
        few = max(1.0, self.tolerance / 10 * atoms)
        return fvu >= (1 - self.tolerance) * best and all(abs(number - atoms) <= few for _, number in past)


def fit_of(codes: Codes, x_BR: Tensor) -> Row:
    """Return ``loss`` (mean squared error, summed over dimensions), ``fvu`` and ``l0`` of a batch's codes."""
    loss = float(codes.errors.mean())
    variance = float(total_variance(x_BR))
    return {"loss": loss, "fvu": loss / variance if variance else math.nan, "l0": codes.l0}


def read_batch(batches: Batches, step: int) -> Tensor:
    """Return the batch of a step, or refuse it.

    Raises
    ------
    ValueError
        If activations are not finite, or nothing but zeros.
    """
    x_BR = batches(step)
    # one pass that tells nearly all batches to be fine; what it leaves open is looked at twice
    total = float(x_BR.sum())
    if math.isfinite(total) and total != 0:
        return x_BR
    if not bool(torch.isfinite(x_BR).all()):
        raise ValueError(f"activations of step {step + 1} are not finite; look at the store")
    if not bool(x_BR.any()):
        raise ValueError(f"activations of step {step + 1} are all zero; there is nothing to find")
    return x_BR


def stepped(
    batches: Batches,
    config: SolverConfig,
    atoms: Tensor,
    began: float,
    step_of: Callable[[Tensor, Tensor], tuple[Tensor, Row]],
) -> Iterator[tuple[Tensor, Row]]:
    """Yield what ``step_of`` makes of the atoms (K x n_r, unit rows) by batch after batch, with the history's row.

    ``step_of`` takes samples and atoms, and returns atoms and its part of the row. Seconds count from ``began``, but
    not while what is yielded is used.
    """
    settled = Settled(config.tolerance, config.patience)
    samples = 0
    for step in range(config.max_steps):
        x = read_batch(batches, step)
        samples += len(x)
        atoms, told = step_of(x, atoms)
        row = {"step": step + 1, "samples": samples, **told, "pruned": 0}
        paused = time.perf_counter()
        yield atoms, row | {"seconds": round(paused - began, 3)}
        began += time.perf_counter() - paused
        # not by the first steps, whose samples the first atoms were drawn from
        if step >= config.replace_steps and settled(row["fvu"], len(atoms)):
            return
    log.warning("not settled after max_steps = %d steps; raise it, or tolerance", config.max_steps)


def learnt(
    batches: Batches, config: SolverConfig, atoms: Tensor, learn: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Row]]:
    """Yield what ``learn`` makes of batch after batch (K x n_r, of any norm), as unit rows with the history's row.

    The row's error is that of the non-negative codes of `sdlcore.solvers.codes`, whose time is not counted.
    """
    seconds = 0.0

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        nonlocal seconds
        codes = codes_of(x, atoms, config.support, config)
        began = time.perf_counter()
        found = learn(x).to(torch.float32, copy=True)
        seconds += time.perf_counter() - began
        # atoms may be inside the sphere, and one that nothing uses at zero
        norms = found.norm(dim=1, keepdim=True)
        atoms = torch.where(norms > 1e-6, found / norms.clamp(min=1e-6), atoms).contiguous()
        return atoms, fit_of(codes, x) | {"support": config.support, "atoms": len(atoms), "replaced": 0}

    for found, row in stepped(batches, config, atoms, 0.0, step):
        yield found, row | {"seconds": round(seconds, 3)}
