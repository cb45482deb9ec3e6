"""Approximate K-SVD with non-negative codes, by passes over mini-batches.

Source: Rubinstein, Zibulevsky and Elad (2008), "Efficient implementation of the K-SVD algorithm using batch orthogonal
matching pursuit", algorithm 5. For one atom after the other, a single alternation replaces the SVD: it approximates the
rank-one part of the residual of the samples that use the atom, and updates their codes at once. Codes come from
`sdlcore.solvers.codes` instead of OMP. `acs` computes the same codes, so the two solvers differ only in the dictionary
step. Codes are non-negative as in NN-K-SVD (Aharon, Elad and Bruckstein 2005). Unused atoms are replaced by the worst
reconstructed samples.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.search import ReadTargets, Row, fit_of, initial_atoms, read_batch, run_steps
from sdlcore.solvers.settings import SolverConfig

USED = 3
"""Fewest samples of a batch that must use an atom for it to be updated; otherwise it is replaced."""


def ksvd(
    batches: ReadTargets, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and a history row after each step, until the search settles.

    Arguments, rows and errors as in `sdlcore.solvers.acs.alternating_convex_search`; no atom is pruned.
    """
    began = time.perf_counter()
    atoms = initial_atoms(read_batch(batches, 0), config.n_atoms, generator, start)

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        codes = codes_of(x, atoms, config.support, config)
        atoms, unused = update_atoms(x, atoms, codes)
        worst = codes.errors.topk(min(len(unused), len(x))).indices
        worst = worst[x[worst].norm(dim=1) > 0]  # a zero sample has no direction
        unused = unused[: len(worst)]
        atoms[unused] = torch.nn.functional.normalize(x[worst])
        return atoms, fit_of(codes, x) | {"support": config.support, "atoms": len(atoms), "replaced": len(unused)}

    yield from run_steps(batches, config, atoms, began, step)


def update_atoms(x_BR: Tensor, atoms_KR: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
    """Update all atoms once by rank-one steps; return the atoms and the indices of atoms that too few samples use.

    Each update lowers the error of the batch or keeps it. With E, the residual without the atom, and g, its codes,
    d = E^T g / |E^T g| is the best atom for g, and max(E d, 0) are the best codes for d.
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
