"""The interface of dictionary searches: initial atoms, history rows, and when a search has settled."""

import logging
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.history import Row
from sdlcore.training.variance import total_variance

log = logging.getLogger(__name__)

PATIENCE = 3
"""Steps over which a search must have settled."""
SMALLEST, LARGEST = 1e-6, 1e6
"""Range of the largest activation of a batch. In float32, K-SVD finds no dictionary from 1e9 on, or at 1e-12."""
ReadTargets = Callable[[int], Tensor]
"""Returns x_r (B x n_r, float32) of a step, counted from 0."""
SolverSteps = Callable[[ReadTargets, SolverConfig, torch.Generator, Tensor | None], Iterator[tuple[Tensor, Row]]]
"""Takes batches, settings, the random generator for initial atoms, and given initial atoms or None (K x n_r); yields
the dictionary (K x n_r, unit rows) and a history row after each step, until it settles."""


def initial_atoms(x_BR: Tensor, n_atoms: int, generator: torch.Generator, start: Tensor | None = None) -> Tensor:
    """Return unit atoms along random samples, each used once; random directions replace missing samples.

    Samples are sums of few features, so they are nearer to features than random directions are. With ``start``, return
    its rows at unit norm instead.
    """
    order = torch.randperm(len(x_BR), generator=generator)
    order = order[x_BR[order].norm(dim=1) > 0][:n_atoms]
    random = torch.randn(n_atoms - len(order), x_BR.shape[1], generator=generator, dtype=x_BR.dtype)
    return torch.nn.functional.normalize(torch.cat([x_BR[order], random]) if start is None else start)


class Settled:
    """Detects when neither error nor number of atoms changes any more, from past steps alone."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._history: list[tuple[float, int]] = []

    def __call__(self, fvu: float, atoms: int) -> bool:
        """Add a step's error and number of atoms; return whether the search has settled."""
        self._history.append((fvu, atoms))
        if len(self._history) <= PATIENCE:
            return False
        past = self._history[-PATIENCE - 1 : -1]
        best = min(error for error, _ in past)
        few = max(1.0, self.tolerance / 10 * atoms)
        return fvu >= (1 - self.tolerance) * best and all(abs(number - atoms) <= few for _, number in past)


def fit_of(codes: Codes, x_BR: Tensor) -> Row:
    """Return the ``loss`` (mean squared error, summed over dimensions), ``fvu`` and ``l0`` of a batch's codes."""
    loss = float(codes.errors.mean())
    variance = float(total_variance(x_BR))
    return {"loss": loss, "fvu": loss / variance if variance else math.nan, "l0": codes.l0}


def read_batch(batches: ReadTargets, step: int) -> Tensor:
    """Return the batch of a step; ValueError unless its largest activation is between `SMALLEST` and `LARGEST`."""
    x_BR = batches(step)
    largest = float(x_BR.abs().max())
    if not SMALLEST <= largest <= LARGEST:
        raise ValueError(
            f"the largest activation of step {step + 1} is {largest:.3g}, expected {SMALLEST:g} to {LARGEST:g}, which "
            "solvers need in float32; look at the store, multiply activations by a constant, or set normalise"
        )
    return x_BR


def run_steps(
    batches: ReadTargets,
    config: SolverConfig,
    atoms: Tensor,
    began: float,
    step_of: Callable[[Tensor, Tensor], tuple[Tensor, Row]],
) -> Iterator[tuple[Tensor, Row]]:
    """Apply ``step_of`` to batch after batch; yield the atoms (K x n_r, unit rows) and a history row each time.

    ``step_of`` takes samples and atoms, and returns atoms and its part of the row. ``seconds`` count from ``began``,
    without the time that the caller spends between steps.
    """
    settled = Settled(config.tolerance)
    samples = 0
    for step in range(config.max_steps):
        x = read_batch(batches, step)
        samples += len(x)
        atoms, step_row = step_of(x, atoms)
        row = {"step": step + 1, "samples": samples, **step_row, "pruned": 0}
        paused = time.perf_counter()
        yield atoms, row | {"seconds": round(paused - began, 3)}
        began += time.perf_counter() - paused
        # not during the first steps: the initial atoms were drawn from their samples, so errors are too small
        if step >= config.replace_steps and settled(row["fvu"], len(atoms)):
            return
    log.warning("not settled after max_steps = %d steps; raise max_steps or tolerance", config.max_steps)


def run_learner(
    batches: ReadTargets, config: SolverConfig, atoms: Tensor, learn: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Row]]:
    """Apply ``learn`` to batch after batch; yield its atoms (K x n_r) at unit norm, and a history row each time.

    A row's error belongs to the non-negative codes of `sdlcore.solvers.codes`; their computation does not count towards
    ``seconds``.
    """
    seconds = 0.0

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        nonlocal seconds
        codes = codes_of(x, atoms, config.support, config)
        began = time.perf_counter()
        new_atoms = learn(x).to(torch.float32, copy=True)
        seconds += time.perf_counter() - began
        # learned atoms may be shorter than 1, and an unused atom may be zero
        norms = new_atoms.norm(dim=1, keepdim=True)
        atoms = torch.where(norms > 1e-6, new_atoms / norms.clamp(min=1e-6), atoms).contiguous()
        return atoms, fit_of(codes, x) | {"support": config.support, "atoms": len(atoms), "replaced": 0}

    for unit_atoms, row in run_steps(batches, config, atoms, 0.0, step):
        yield unit_atoms, row | {"seconds": round(seconds, 3)}
