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
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import normalize, pad

import sdlcore as sdl
from sdlcore.solvers.codes import Codes
from sdlcore.solvers.search import ReadTargets, Row, fit_of, initial_atoms, read_batch, run_steps
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import Support

PICKS = 4
"""Picks of a pursuit per atom of the support. Picking an atom again corrects its code."""
NOTHING = 1e-8
"""Relative fall of a sample's squared error below which its pursuit stops."""


@sdl.solver("dbksvd")
def double_batch_ksvd(
    batches: ReadTargets,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
    *,
    atom_batch: Annotated[int, Ge(1)] = 64,
    power_steps: Annotated[int, Ge(1)] = 4,
    signed: bool = True,
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and a history row after each step, until the search settles.

    A row's error belongs to the pursuit's codes, before the batch moved any atom. With ``signed`` codes, each atom is
    flipped if its negative codes have more energy than its positive ones.

    Parameters
    ----------
    batches, config, generator, start
        As in `sdlcore.solvers.acs.alternating_convex_search`.
    atom_batch
        Atoms that are updated from the same residual; 1 updates one after the other, like K-SVD.
    power_steps
        Power-method steps for the update of an atom and its codes, starting from its current codes.
    signed
        Allow negative codes during the search, as the paper does. The dictionary's latents stay non-negative.
    """
    began = time.perf_counter()
    atoms = initial_atoms(read_batch(batches, 0), config.n_atoms, generator, start)

    def step(x: Tensor, atoms: Tensor) -> tuple[Tensor, Row]:
        codes = matching_pursuit(x, atoms, config.support, signed)
        row = fit_of(codes, x) | {"l0": len(codes.values) / len(x), "support": config.support}
        order = torch.randperm(len(atoms), generator=generator)
        atoms, values = update_atoms(x, atoms, codes, order.split(atom_batch), power_steps, signed)
        # before the atoms are flipped, because the pursuit's codes belong to unflipped atoms
        replaced = replace_unused(x, atoms, codes, values)
        energy = values.new_zeros(len(atoms)).index_add(0, codes.support.columns, values * values.abs())
        return atoms * torch.where(energy < 0, -1.0, 1.0)[:, None], row | {"atoms": len(atoms), "replaced": replaced}

    yield from run_steps(batches, config, atoms, began, step)


def matching_pursuit(x_BR: Tensor, atoms_KR: Tensor, support: int, signed: bool = False) -> Codes:
    """Return greedy codes of B samples with at most ``support`` of K unit atoms per sample.

    Each pick sets the code of one atom to its best value while the other codes stay. It takes the atom that lowers the
    error most, which may have been picked before. A pursuit ends at the pick that would exceed ``support``.
    """
    gram_KK, products_BK = atoms_KR @ atoms_KR.T, x_BR @ atoms_KR.T
    codes_BK = torch.zeros_like(products_BK)
    errors_B = x_BR.square().sum(1)
    enough_B, going_B = NOTHING * errors_B, torch.ones(len(x_BR), dtype=torch.bool)
    for _ in range(PICKS * support):
        change_BK = products_BK if signed else (codes_BK + products_BK).clamp(min=0) - codes_BK
        at_B1 = change_BK.abs().argmax(1, keepdim=True)
        change_B, product_B, code_B = (each.gather(1, at_B1).squeeze(1) for each in (change_BK, products_BK, codes_BK))
        is_full_B = (codes_BK != 0).sum(1) >= support
        going_B &= (change_B.square() > enough_B) & ~((code_B == 0) & is_full_B)
        change_B = torch.where(going_B, change_B, 0.0)
        codes_BK.scatter_add_(1, at_B1, change_B[:, None])
        products_BK -= change_B[:, None] * gram_KK[at_B1.squeeze(1)]
        errors_B -= change_B * (2 * product_B - change_B)
    mask_BK = codes_BK != 0
    offsets = pad(mask_BK.sum(1).cumsum(0), (1, 0))
    entries = Support(offsets, mask_BK.nonzero()[:, 1].int(), len(atoms_KR), kernels_for(x_BR.device))
    values = codes_BK[mask_BK]
    return Codes(entries, values, torch.zeros_like(values), errors_B.clamp(min=0))


def update_atoms(
    x_BR: Tensor, atoms_KR: Tensor, codes: Codes, groups: Sequence[Tensor], power_steps: int = 4, signed: bool = True
) -> tuple[Tensor, Tensor]:
    """Update all atoms once, a group of indices at a time; return the atoms and the updated codes (N).

    For each atom, E is the residual, without that atom, of the samples that use it. ``power_steps`` of the power method
    move the atom and its codes to the leading singular pair of E, starting from its current codes. Each half of such a
    step lowers the batch's error or keeps it. This descent is guaranteed only for groups of one atom: two atoms updated
    together may both correct the same error of a sample that uses both.
    """
    atoms, values = atoms_KR.clone(), codes.values.clone()
    residual_BR = x_BR - codes.reconstruct(atoms)
    offsets, samples, order = codes.support.by_latent
    for group in groups:
        moves = []
        for atom in group.tolist():
            part = slice(int(offsets[atom]), int(offsets[atom + 1]))
            rows, places = samples[part].long(), order[part].long()
            part_MR = values[places, None] * atoms[atom]
            E_MR, code_M = residual_BR[rows] + part_MR, values[places]
            for _ in range(power_steps if code_M.any() else 0):
                atoms[atom] = normalize(code_M @ E_MR, dim=0)
                code_M = E_MR @ atoms[atom] if signed else (E_MR @ atoms[atom]).clamp(min=0)
                if not code_M.any():
                    break
            values[places] = code_M
            moves.append((rows, part_MR - code_M[:, None] * atoms[atom]))
        for rows, move_MR in moves:
            residual_BR[rows] += move_MR
    return atoms, values


def replace_unused(x_BR: Tensor, atoms_KR: Tensor, codes: Codes, values_N: Tensor) -> int:
    """Replace atoms that no sample uses by residuals of the worst reconstructed samples; return how many.

    ``values_N`` are the updated codes.
    """
    used = torch.zeros(len(atoms_KR), dtype=torch.bool)
    used[codes.support.columns[values_N != 0].long()] = True
    unused = (~used).nonzero().squeeze(1)
    worst = codes.errors.topk(min(len(unused), len(x_BR))).indices
    residuals = (x_BR - codes.reconstruct(atoms_KR))[worst]
    is_residual = residuals.norm(dim=1) > 0
    unused = unused[: len(worst)][is_residual]
    atoms_KR[unused] = normalize(residuals[is_residual])
    return len(unused)
