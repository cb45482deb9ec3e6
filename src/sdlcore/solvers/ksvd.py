"""Approximate K-SVD with non-negative codes, by passes over mini-batches.

Rubinstein, Zibulevsky and Elad (2008), "Efficient implementation of the K-SVD algorithm using batch orthogonal matching
pursuit", algorithm 5: atom after atom, the rank-one part of the residual of the samples that use it is found by one
alternation instead of an SVD, and their codes are updated at once. Codes come from the coder of `sdlcore.solvers.codes`
in the place of OMP, as all solvers here take theirs, so that what differs is the dictionary step. Non-negative, as in
NN-K-SVD (Aharon, Elad and Bruckstein 2005). Unused atoms are replaced by what is reconstructed worst.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.search import Batches, Row, fit_of, initial_atoms, read_batch, stepped
from sdlcore.solvers.settings import SolverConfig

USED = 3
"""Samples of a batch that an atom must be active in to be updated by them."""


def ksvd(
    batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and the history's row of each step, until it settles.

    Arguments, rows and errors as of `sdlcore.solvers.acs.alternating_convex_search`; none is pruned.
    """
    began = time.perf_counter()
    atoms = initial_atoms(read_batch(batches, 0), config.n_atoms, generator, start)

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        codes = codes_of(x, atoms, config.support, config)
        atoms, unused = update_atoms(x, atoms, codes)
        worst = codes.errors.topk(min(len(unused), len(x))).indices
        worst = worst[x[worst].norm(dim=1) > 0]  # a sample of zeros is no direction
        unused = unused[: len(worst)]
        atoms[unused] = torch.nn.functional.normalize(x[worst])
        return atoms, fit_of(codes, x) | {"support": config.support, "atoms": len(atoms), "replaced": len(unused)}

    yield from stepped(batches, config, atoms, began, step)


def update_atoms(x_BR: Tensor, atoms_KR: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
    """Return the atoms after one pass of rank-one updates, and the indices of those that too few samples use.

    Each update lowers the error of the batch, or leaves it: of E, the residual without the atom, and g, its codes,
    d = E^T g / |E^T g| is the best atom for g, and max(E d, 0) the best codes for d.
    """
    atoms = atoms_KR.clone()
    residual = x_BR - codes.reconstruct(atoms)
    offsets, samples, order = codes.support.by_latent
    values = codes.values.clone()
    unused = []
    for atom in range(len(atoms)):
        entries = order[offsets[atom] : offsets[atom + 1]].long()
        rows = samples[offsets[atom] : offsets[atom + 1]].long()
        active = values[entries] > 0
        if int(active.sum()) < USED:
            unused.append(atom)
            continue
        rows, entries = rows[active], entries[active]
        without = residual[rows] + values[entries, None] * atoms[atom]
        direction = without.T @ values[entries]
        atoms[atom] = direction / direction.norm().clamp(min=1e-30)
        values[entries] = (without @ atoms[atom]).clamp(min=0)
        residual[rows] = without - values[entries, None] * atoms[atom]
    return atoms, torch.tensor(unused, dtype=torch.int64)


SOLVER = ksvd
