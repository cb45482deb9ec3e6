"""Alternating convex search for a dictionary; the search also finds the number of atoms.

The problem of Definition 2.5 is biconvex within an activation pattern: convex in the codes for a fixed dictionary, and
convex in the dictionary for fixed codes (Gorski et al. 2007). Each step takes a batch, selects supports by correlation,
minimises over non-negative codes, then over all atoms at once, and normalises the atoms. Convex steps cannot move atoms
between patterns. So the first steps also replace duplicate atoms by the residuals of badly reconstructed samples, and
later steps prune them. The search never sees labels, the number of features or their sparsity.
"""

import logging
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes, denoised_codes, largest_correlations, nonnegative_codes
from sdlcore.solvers.normal_equations import NormalEquations, typical_value
from sdlcore.solvers.search import ReadTargets, Row, Settled, fit_of, initial_atoms, read_batch
from sdlcore.solvers.settings import SolverConfig

log = logging.getLogger(__name__)

FULL = 0.95
"""Share of nonzero codes above which supports count as too small."""
ALIVE = 1e-6
"""Norm of a solved atom below which its direction is rounding error."""
MAX_COSINE = 0.7
"""Largest cosine of two atoms. Of a closer pair, the atom with less energy (sum of squared codes) is removed."""
AT_ONCE = 256
"""Rows of the Gram matrix computed in one product."""


class Atoms(NamedTuple):
    """Atoms to replace or prune in a step."""

    duplicate: Tensor
    """K booleans."""
    weak: Tensor
    """K booleans."""


def alternating_convex_search(
    batches: ReadTargets,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (K x n_r, unit rows) and a history row after each step, until the search settles.

    Parameters
    ----------
    batches
        Function that returns the samples of a step.
    config
        Solver settings.
    generator
        CPU random generator for the first atoms.
    start
        Initial atoms (K x n_r), instead of drawn ones.

    Yields
    ------
    atoms
        K x n_r.
    row
        ``step`` from 1; ``samples`` seen; ``loss``, ``fvu`` and ``l0`` of the step's batch before its atoms moved;
        ``support``, the largest possible l0; ``atoms`` after the step; numbers of atoms ``replaced`` and ``pruned``;
        ``seconds`` of search so far.

    Raises
    ------
    ValueError
        If activations are not finite, or all zero, or an atom's least squares cannot be solved.
    """
    started = time.perf_counter()
    x = read_batch(batches, 0)
    atoms = initial_atoms(x, config.n_atoms, generator, start)
    equations = NormalEquations(*atoms.shape)
    gram = gram_of(atoms)
    settled = Settled(config.tolerance)
    samples, s = 0, config.support
    for step in range(config.max_steps):
        x = x if step == 0 else read_batch(batches, step)
        samples += len(x)
        support = largest_correlations(x, atoms, s, config.precision)
        codes = nonnegative_codes(x, atoms, gram, support, config.sweeps)
        full = codes.full
        if config.threshold:
            codes = denoised_codes(x, atoms, gram, codes, s, config.sweeps, config.threshold, config.precision)
        equations.add(codes, x, config.forgetting)
        solved = equations.solve(atoms, config.ridge)
        norms = solved.norm(dim=1)
        alive = norms > ALIVE
        atoms = torch.where(alive[:, None], solved / norms[:, None], atoms)
        equations.rescale(torch.where(alive, norms, 1.0))
        gram = gram_of(atoms)
        duplicate, weak = surplus(gram, equations, config)
        row = {
            "step": step + 1,
            "samples": samples,
            **fit_of(codes, x),
            "support": s,
            "atoms": 0,
            "replaced": 0,
            "pruned": 0,
        }
        if step < config.replace_steps:
            new = replace(atoms, equations, duplicate | ~alive, codes, x)
            row["replaced"] = len(new)
            gram[new] = atoms[new] @ atoms.T
            gram[:, new] = gram[new].T
        else:
            indices = (~(duplicate | weak)).nonzero().squeeze(1)
            row["pruned"] = len(atoms) - len(indices)
            if row["pruned"]:
                atoms, gram = atoms[indices], gram[indices].index_select(1, indices)
                equations.keep(indices)
        row |= {"atoms": len(atoms), "seconds": round(time.perf_counter() - started, 3)}
        paused = time.perf_counter()
        yield atoms, row
        started += time.perf_counter() - paused
        if step < config.replace_steps:
            continue
        if full > FULL and s < config.max_support:
            s = min(2 * s, config.max_support)
            settled = Settled(config.tolerance)
        elif settled(row["fvu"], len(atoms)):
            return
    log.warning("not settled after max_steps = %d steps; raise max_steps or tolerance", config.max_steps)


def gram_of(atoms_KR: Tensor) -> Tensor:
    """Return the inner products of all atoms (K x K), symmetric to the bit."""
    gram = atoms_KR.new_empty(len(atoms_KR), len(atoms_KR))
    for start in range(0, len(atoms_KR), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        torch.mm(atoms_KR[part], atoms_KR[: part.stop].T, out=gram[part, : part.stop])
        gram[:start, part] = gram[part, :start].T
        gram[part, part] = _symmetric(gram[part, part])
    return gram


def _symmetric(products_KK: Tensor) -> Tensor:
    """Copy the lower triangle to the upper one: some processors sum the two products in different orders."""
    return products_KK.tril() + products_KK.tril(-1).T


def surplus(gram_KK: Tensor, equations: NormalEquations, config: SolverConfig) -> Atoms:
    """Return the atoms closer than `MAX_COSINE` to one of more energy, and the atoms that hardly matter."""
    worth = equations.worth
    order = torch.argsort(equations.energies, descending=True, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    near = (gram_KK > MAX_COSINE).nonzero()
    later = near[place[near[:, 0]] > place[near[:, 1]], 0]
    duplicate = torch.zeros(len(worth), dtype=torch.bool)
    duplicate[later] = True
    return Atoms(duplicate, worth < config.min_worth * typical_value(worth))


def replace(atoms_KR: Tensor, equations: NormalEquations, bad_K: Tensor, codes: Codes, x_BR: Tensor) -> Tensor:
    """Replace some atoms by residuals of the worst reconstructed samples; return the indices of replaced atoms."""
    bad = bad_K.nonzero().squeeze(1)
    worst = codes.errors.topk(min(len(bad), len(x_BR))).indices
    residuals = x_BR[worst] - codes.reconstruct(atoms_KR)[worst]
    norms = residuals.norm(dim=1)
    worst = norms > 0
    bad = bad[: len(norms)][worst]
    atoms_KR[bad] = residuals[worst] / norms[worst, None]
    equations.forget(bad)
    return bad


SOLVER = alternating_convex_search
