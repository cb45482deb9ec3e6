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
from typing import Annotated, Any

import numba
import numpy as np
import torch
from annotated_types import Ge
from numba import prange
from torch import Tensor

import sdlcore as sdl
from sdlcore.solvers.codes import Codes
from sdlcore.solvers.search import Batches, Row, fit_of, initial_atoms, read_batch, run_steps
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sparse.kernels.calling import set_numba_threads
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.cpu import parallel, serial
from sdlcore.sparse.support import Support

PICKS = 4
"""Picks of a pursuit per atom of the support. Picking an atom again corrects its code."""
AT_ONCE = 1024
"""Samples whose products with all atoms are stored at once."""


@sdl.solver("dbksvd")
def double_batch_ksvd(
    batches: Batches,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
    *,
    atom_batch: Annotated[int, Ge(1)] = 64,
    power_steps: Annotated[int, Ge(1)] = 4,
    signed: bool = True,
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and a history row after each step, until the search settles.

    Atoms that no sample of a batch uses are replaced by residuals of the worst reconstructed samples. A row's error
    belongs to the pursuit's codes, before the batch moved any atom. With ``signed`` codes, each atom is flipped if its
    negative codes have more energy than its positive ones.

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
        atoms *= orientations(codes.support, values)[:, None]
        return atoms, row | {"atoms": len(atoms), "replaced": replaced}

    yield from run_steps(batches, config, atoms, began, step)


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
        pursue(
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
    x_BR: Tensor, atoms_KR: Tensor, codes: Codes, groups: Sequence[Tensor], power_steps: int = 4, signed: bool = True
) -> tuple[Tensor, Tensor]:
    """Update all atoms once, a group at a time; return the atoms and the updated codes (N).

    For each atom, E is the residual, without that atom, of the samples that use it. ``power_steps`` of the power method
    move the atom and its codes to the leading singular pair of E, starting from its current codes. Each half of such a
    step lowers the batch's error or keeps it. This descent is guaranteed only for groups of one atom: two atoms updated
    together may both correct the same error of a sample that uses both.

    Parameters
    ----------
    groups
        Indices of the atoms, in the order in which they are updated.
    """
    set_numba_threads()
    atoms = atoms_KR.clone()
    residual = x_BR - codes.reconstruct(atoms)
    offsets, samples, entries = codes.support.by_latent
    values = codes.values[entries.long()]
    for some in groups:
        update(
            some.numpy(),
            offsets.numpy(),
            samples.numpy(),
            power_steps,
            signed,
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


# One thread handles each sample's pursuit and each atom's update, so results do not depend on the number of threads.
# fastmath, because the compiler vectorises a maximum only if numbers are finite, and searches have checked that
_largest = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)

_BLOCK = 128
"""Products in a block. The pursuit finds the largest block maximum first, then its place in that block."""
_CHUNK = 128
"""Dimensions of the residual that one thread updates."""
_NOTHING = 1e-8
"""Relative fall of a sample's squared error below which the pursuit stops."""


@_largest
def _step(products: np.ndarray, row: np.ndarray, change: Any, signed: bool) -> int:
    """Subtract ``change`` times a Gram row from the products; return the place of the largest, or -1 if all are <= 0.

    With ``signed`` codes it is the largest in absolute value.
    """
    best, block = np.float32(0), -1
    for start in range(0, len(products), _BLOCK):
        stop = min(start + _BLOCK, len(products))
        highest = np.float32(0)
        if signed:
            for j in range(start, stop):
                products[j] -= change * row[j]
                highest = max(highest, abs(products[j]))
        else:
            for j in range(start, stop):
                products[j] -= change * row[j]
                highest = max(highest, products[j])
        if highest > best:
            best, block = highest, start
    if block < 0:
        return -1
    for j in range(block, min(block + _BLOCK, len(products))):
        if products[j] == best or (signed and -products[j] == best):
            return j
    return -1


@parallel
def pursue(
    products: np.ndarray,
    gram: np.ndarray,
    picks: int,
    signed: bool,
    columns: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    errors: np.ndarray,
) -> None:
    """Pick atoms for each sample and set their codes.

    Parameters
    ----------
    products
        Inner products of B samples with K unit atoms; overwritten.
    gram
        K x K inner products of the atoms.
    picks
        Largest number of picks per sample.
    signed
        Whether codes may be negative.
    columns, values
        B x s, written: the atoms of each sample, ascending, and their nonzero codes.
    counts
        B, written: number of atoms of each sample.
    errors
        B squared norms of the samples; overwritten with their squared errors.
    """
    for r in prange(len(products)):
        p, atoms, codes = products[r], columns[r], values[r]
        enough = np.float32(_NOTHING) * errors[r]
        n, change, row = 0, np.float32(0), gram[0]
        for _ in range(picks):
            at = _step(p, row, change, signed)
            change = p[at] if at >= 0 else np.float32(0)
            place = n
            for i in range(n):
                if atoms[i] == at:
                    place = i
                # a pick may also reduce an earlier code, but not below zero
                if not signed:
                    fall = max(p[atoms[i]], -codes[i])
                    if -fall > abs(change):
                        at, place, change = atoms[i], i, fall
            if change * change <= enough or (place == n and n == len(atoms)):
                break
            if place == n:
                atoms[n], codes[n] = at, 0
                n += 1
            codes[place] += change
            errors[r] -= change * (2 * p[at] - change)
            row = gram[at]
        # sort by atom, and drop codes that have become zero
        n_nonzero = 0
        for i in range(n):
            atom, code = atoms[i], codes[i]
            if code == 0:
                continue
            j = n_nonzero
            while j > 0 and atoms[j - 1] > atom:
                atoms[j], codes[j] = atoms[j - 1], codes[j - 1]
                j -= 1
            atoms[j], codes[j] = atom, code
            n_nonzero += 1
        counts[r] = n_nonzero


@serial
def _leading_pair(E: np.ndarray, steps: int, signed: bool, g: np.ndarray, d: np.ndarray) -> None:
    """Move codes g (m) and unit atom d towards the leading singular pair of E (m x n_r)."""
    for _ in range(steps):
        total = np.zeros(len(d), dtype=d.dtype)
        for i in range(len(g)):
            if g[i] != 0:
                for j in range(len(d)):
                    total[j] += g[i] * E[i, j]
        norm = d.dtype.type(0)
        for j in range(len(d)):
            norm += total[j] * total[j]
        if not norm > 0:
            return
        norm = np.sqrt(norm)
        for j in range(len(d)):
            d[j] = total[j] / norm
        for i in range(len(g)):
            code = d.dtype.type(0)
            for j in range(len(d)):
                code += E[i, j] * d[j]
            g[i] = code if signed else max(code, d.dtype.type(0))


@parallel
def update(
    some: np.ndarray,
    offsets: np.ndarray,
    samples: np.ndarray,
    steps: int,
    signed: bool,
    atoms: np.ndarray,
    values: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Update some atoms and their codes from one residual, then update the residual for all of them.

    Parameters
    ----------
    some
        Indices of the atoms to update.
    offsets, samples
        The pattern by atoms: atom a is used by ``samples[offsets[a]:offsets[a + 1]]``.
    steps
        Number of power-method steps.
    signed
        Whether codes may be negative.
    atoms
        K x n_r unit rows; the rows in ``some`` are overwritten.
    values
        Codes, grouped by atom like ``samples``; codes of the atoms in ``some`` are overwritten.
    residual
        B x n_r: samples less their reconstructions; overwritten.
    """
    n_r = atoms.shape[1]
    before = atoms[some]
    old = values.copy()
    for k in prange(len(some)):
        a = some[k]
        start, stop = offsets[a], offsets[a + 1]
        E = np.empty((stop - start, n_r), dtype=residual.dtype)
        for i in range(stop - start):
            value, source = old[start + i], residual[samples[start + i]]
            for j in range(n_r):
                E[i, j] = source[j] + value * before[k, j]
        _leading_pair(E, steps, signed, values[start:stop], atoms[a])
    for chunk in prange((n_r + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min(n_r, (chunk + 1) * _CHUNK)
        for k in range(len(some)):
            a = some[k]
            for i in range(offsets[a], offsets[a + 1]):
                target, was, now = residual[samples[i]], old[i], values[i]
                for j in range(first, last):
                    target[j] += was * before[k, j] - now * atoms[a, j]
