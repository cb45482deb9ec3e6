"""Double-batch K-SVD: matching pursuit, then rank-one updates of several atoms at once, on mini-batches.

Source: Valentin, Katz, Vanhoucke and Kochenderfer (2025), "DB-KSVD: Scalable alternating optimization for disentangling
high-dimensional embedding spaces" (arXiv 2505.18441). DB-KSVD batches K-SVD (Aharon, Elad and Bruckstein 2006) twice: a
step uses a batch of samples, and updates atoms in batches, in shuffled order. All atoms of a batch use the same
residual, which is recomputed before the next batch.

We followed the abstract and the authors' public code (KSVD.jl), which differs from ours. KSVD.jl's rank-one step is a
truncated SVD, ours four power steps. KSVD.jl's pursuit picks one atom too many and drops the smallest code; ours stops
before that. KSVD.jl starts from random atoms, we start from samples. KSVD.jl keeps atoms that no sample uses; we
replace such atoms. KSVD.jl takes 65,536 samples at once, we at most 8192. KSVD.jl stops after three passes over a
million samples; we stop by the rule of all solvers. KSVD.jl's final codes may be negative; ours are negative only
during the search. Neither uses momentum.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.solvers import dbksvd_loops as loops
from sdlcore.solvers.codes import Codes
from sdlcore.solvers.search import Batches, Row, fit_of, initial_atoms, read_batch, stepped
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sparse.kernels.calling import set_numba_threads
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import Support

PICKS = 4
"""Picks of a pursuit per atom of the support. Picking an atom again corrects its code."""
AT_ONCE = 1024
"""Samples whose products with all atoms are stored at once."""


def double_batch_ksvd(
    batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and a history row after each step, until the search settles.

    Arguments, rows and errors as in `sdlcore.solvers.acs.alternating_convex_search`; no atom is pruned. Atoms that no
    sample of a batch uses are replaced by residuals of the worst reconstructed samples. A row's error belongs to the
    pursuit's codes, before the batch moved any atom. With ``signed`` codes, each atom is flipped if its negative codes
    have more energy than its positive ones.
    """
    began = time.perf_counter()
    atoms = initial_atoms(read_batch(batches, 0), config.n_atoms, generator, start)

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        codes = matching_pursuit(x, atoms, config.support, config.signed)
        row = fit_of(codes, x) | {"l0": len(codes.values) / len(x), "support": config.support}
        order = torch.randperm(len(atoms), generator=generator)
        atoms, values = update_atoms(x, atoms, codes, order, config)
        # before the atoms are flipped, because the pursuit's codes belong to unflipped atoms
        replaced = replace_unused(x, atoms, codes, values)
        atoms *= orientations(codes.support, values)[:, None]
        return atoms, row | {"atoms": len(atoms), "replaced": replaced}

    yield from stepped(batches, config, atoms, began, step)


def matching_pursuit(x_BR: Tensor, atoms_KR: Tensor, support: int, signed: bool = False) -> Codes:
    """Return greedy codes with at most ``support`` atoms per sample.

    Each pick sets the code of one atom to its best value while the other codes stay. Each pick takes the atom that
    lowers the error most, which may have been picked before. The pursuit ends at the pick that would exceed
    ``support``.

    Parameters
    ----------
    x_BR
        B samples, float32.
    atoms_KR
        K unit atoms.
    support
        Largest number of atoms per sample.
    signed
        Allow negative codes.

    Returns
    -------
    Codes
        Without zero entries. ``worth`` is not computed, and is zero.
    """
    set_numba_threads()
    B, K = len(x_BR), len(atoms_KR)
    s = min(support, K)
    gram = (atoms_KR @ atoms_KR.T).numpy()
    counts = torch.empty(B, dtype=torch.int64)
    columns, values = torch.empty(B, s, dtype=torch.int32), x_BR.new_empty(B, s)
    errors = x_BR.square().sum(1)
    for begin in range(0, B, AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        products = x_BR[part] @ atoms_KR.T
        loops.pursue(
            products.numpy(),
            gram,
            PICKS * s,
            signed,
            columns[part].numpy(),
            values[part].numpy(),
            counts[part].numpy(),
            errors[part].numpy(),
        )
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    is_entry = torch.arange(s) < counts[:, None]
    kernels = kernels_for(atoms_KR.device)
    return Codes(
        Support(offsets, columns[is_entry], K, kernels),
        values[is_entry],
        x_BR.new_zeros(int(offsets[-1])),
        errors.clamp(min=0),
    )


def update_atoms(
    x_BR: Tensor, atoms_KR: Tensor, codes: Codes, order_K: Tensor, config: SolverConfig
) -> tuple[Tensor, Tensor]:
    """Update all atoms once, ``atom_batch`` at a time; return the atoms and the updated codes (N).

    For each atom, E is the residual, without that atom, of the samples that use it. ``power_steps`` of the power method
    move the atom and its codes to the leading singular pair of E, starting from its current codes. Each half of such a
    step lowers the batch's error or keeps it. This descent is guaranteed only if ``atom_batch`` is 1: two atoms
    updated together may both correct the same error of a sample that uses both.

    Parameters
    ----------
    order_K
        Order in which atoms are updated.
    """
    set_numba_threads()
    atoms = atoms_KR.clone()
    residual = x_BR - codes.reconstruct(atoms)
    offsets, samples, entries = codes.support.by_latent
    values = codes.values[entries.long()]
    for some in order_K.split(config.atom_batch):
        loops.update(
            some.numpy(),
            offsets.numpy(),
            samples.numpy(),
            config.power_steps,
            config.signed,
            atoms.numpy(),
            values.numpy(),
            residual.numpy(),
        )
    return atoms, torch.empty_like(values).index_copy_(0, entries.long(), values)


def orientations(support: Support, values_N: Tensor) -> Tensor:
    """Return -1 for each atom whose negative codes have more energy than its positive ones, 1 for others (K)."""
    energy = values_N.new_zeros(support.n_q).index_add(0, support.columns, values_N * values_N.abs())
    return torch.where(energy < 0, -1.0, 1.0)


def replace_unused(x_BR: Tensor, atoms_KR: Tensor, codes: Codes, values_N: Tensor) -> int:
    """Replace atoms that no sample uses by residuals of the worst reconstructed samples; return how many.

    ``values_N`` are the updated codes.
    """
    used = torch.zeros(len(atoms_KR), dtype=torch.bool)
    used[codes.support.columns[values_N != 0].long()] = True
    unused = (~used).nonzero().squeeze(1)
    worst = codes.errors.topk(min(len(unused), len(x_BR))).indices
    residuals = (x_BR - codes.reconstruct(atoms_KR))[worst]
    nonzero = residuals.norm(dim=1) > 0
    unused = unused[: len(worst)][nonzero]
    atoms_KR[unused] = torch.nn.functional.normalize(residuals[nonzero])
    return len(unused)


SOLVER = double_batch_ksvd
