"""The code step: sparse non-negative codes of samples for a fixed dictionary."""

from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.model.preactivations import Preactivations
from sdlcore.model.support import Support
from sdlcore.solvers import kernels as loops


class MonotonicityError(RuntimeError):
    """A convex step made the objective larger than rounding can. The message says which, and by how much."""


class Codes(NamedTuple):
    """Codes of B samples for K atoms, at the N entries of their supports."""

    support: Support
    values: Tensor
    """N, non-negative; an entry may be zero."""
    worth: Tensor
    """N: how much the error of its sample would grow without this atom, the others active making up for it. Of large
    supports only some samples are asked, and count for the others."""
    errors: Tensor
    """B squared reconstruction errors |x - D^T c|^2."""

    @property
    def l0(self) -> float:
        """Mean number of active atoms of a sample."""
        return float((self.values > 0).sum()) / self.support.n_samples

    @property
    def full(self) -> float:
        """Share of the entries of supports whose code is not zero."""
        return float((self.values > 0).sum()) / max(1, len(self.values))

    def worths(self) -> Tensor:
        """Return how much the error of the batch would grow without each atom (K)."""
        return self.worth.new_zeros(self.support.n_q).index_add(0, self.support.columns, self.worth)

    def reconstruct(self, atoms_KR: Tensor) -> Tensor:
        """Return codes times dictionary (B x n_r)."""
        support = self.support
        return support.kernels.gather_sum(support.offsets, support.columns, self.values, atoms_KR)


ROUNDING = 1e-4
"""Largest rise of an objective, as a share of what it is a part of, that passes for rounding of float32."""

WORTH_ALL = 16
"""Mean size of supports up to which every sample is asked what its atoms are worth."""


def threads_set() -> None:
    """Give numba's loops as many threads as torch has."""
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def largest_correlations(x_BR: Tensor, atoms_KR: Tensor, s: int, precision: torch.dtype | None = None) -> Support:
    """Return the s atoms of largest positive correlation with each sample."""
    no_bias = atoms_KR.new_zeros(len(atoms_KR))
    return Preactivations(x_BR, atoms_KR, no_bias, precision).largest(min(s, len(atoms_KR))).support


def nonnegative_codes(
    x_BR: Tensor,
    atoms_KR: Tensor,
    gram_KK: Tensor,
    support: Support,
    sweeps: int,
    start_N: Tensor | None = None,
) -> Codes:
    """Minimise |x - D^T c|^2 over c >= 0 with a given support, by coordinate descent on the support's Gram matrix.

    Parameters
    ----------
    x_BR
        B samples, float32.
    atoms_KR
        K unit atoms.
    gram_KK
        Their inner products.
    support
        Which atoms each sample may use.
    sweeps
        Times that each coefficient is set to its best value.
    start_N
        Codes to start from; None for zeros.

    Raises
    ------
    MonotonicityError
        If a sweep makes a sample's error larger, beyond rounding. The problem is convex and each coefficient is set to
        its minimiser: this says that numbers are not finite or huge, or that atoms and Gram matrix do not belong
        together.
    """
    threads_set()
    correlations = support.kernels.dots(*support.by_latent, atoms_KR, x_BR)
    values = torch.zeros_like(correlations) if start_N is None else start_N.clone()
    worth = torch.empty_like(values)
    # a matrix is inverted for it, in time that grows with the cube of a support
    stride = max(1, len(support) // (WORTH_ALL * max(1, len(x_BR))))
    objective, rise = x_BR.new_empty(len(x_BR)), x_BR.new_empty(len(x_BR))
    loops.coordinate_descent(
        support.offsets.numpy(),
        support.columns.numpy(),
        gram_KK.numpy(),
        correlations.numpy(),
        sweeps,
        stride,
        values.numpy(),
        worth.numpy(),
        objective.numpy(),
        rise.numpy(),
    )
    squares = support.kernels.squared_norms(x_BR)
    if not bool((rise <= ROUNDING * squares.clamp(min=1e-30)).all()):
        worst = int((rise / squares.clamp(min=1e-30)).nan_to_num(torch.inf).argmax())
        raise MonotonicityError(
            f"the code step raised the objective of sample {worst} of the batch by {float(rise[worst]):.3g}, its "
            f"squared norm being {float(squares[worst]):.3g}; look for activations that are not finite or huge"
        )
    return Codes(support, values, worth * stride, (squares + 2 * objective).clamp(min=0))
