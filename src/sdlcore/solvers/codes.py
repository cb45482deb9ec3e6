"""The code step: sparse non-negative codes of samples for a fixed dictionary."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.settings import Precision
from sdlcore.solvers import kernels as loops
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sparse.kernels.calling import set_numba_threads
from sdlcore.sparse.preactivations import Preactivations
from sdlcore.sparse.support import Support, assemble, subset


class Codes(NamedTuple):
    """Codes of B samples for K atoms, at the N entries of their supports."""

    support: Support
    values: Tensor
    """N, non-negative; an entry may be zero."""
    worth: Tensor
    """N: how much the error of its sample would grow without this atom, after the other active atoms adjust. With
    large supports it is computed for a subset of the samples and scaled up."""
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


WORTH_ALL = 16
"""`Codes.worth` is computed for every sample up to this mean support size."""


def largest_correlations(x_BR: Tensor, atoms_KR: Tensor, s: int, precision: Precision = "float32") -> Support:
    """Return the s atoms that correlate most, and positively, with each sample; the product is computed in
    ``precision``."""
    no_bias, lower = atoms_KR.new_zeros(len(atoms_KR)), torch.bfloat16 if precision == "bfloat16" else None
    return Preactivations(x_BR, atoms_KR, no_bias, lower).largest(min(s, len(atoms_KR))).support


def codes_of(x_BR: Tensor, atoms_KR: Tensor, s: int, config: SolverConfig) -> Codes:
    """Return the non-negative codes of samples on supports of s atoms, with a solver's settings."""
    support = largest_correlations(x_BR, atoms_KR, s, config.precision)
    return nonnegative_codes(x_BR, atoms_KR, atoms_KR @ atoms_KR.T, support, config.sweeps)


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
        K unit atoms (K x n_r).
    gram_KK
        Their inner products.
    support
        Atoms that each sample may use.
    sweeps
        Number of passes over each sample's coefficients.
    start_N
        Codes to start from; None for zeros.
    """
    set_numba_threads()
    correlations = support.kernels.dots(*support.by_latent, atoms_KR, x_BR)
    values = torch.zeros_like(correlations) if start_N is None else start_N.clone()
    worth = torch.empty_like(values)
    # a worth needs a matrix inverse, whose cost is cubic in the support size
    stride = max(1, len(support) // (WORTH_ALL * max(1, len(x_BR))))
    objective = x_BR.new_empty(len(x_BR))
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
    )
    squares = support.kernels.squared_norms(x_BR)
    return Codes(support, values, worth * stride, (squares + 2 * objective).clamp(min=0))


def denoised_codes(
    x_BR: Tensor,
    atoms_KR: Tensor,
    gram_KK: Tensor,
    codes: Codes,
    s: int,
    sweeps: int,
    share: float,
    precision: Precision = "float32",
) -> Codes:
    """Choose supports again by correlation with residuals, and drop codes that noise alone would produce.

    A sample's correlations mix all of its features: loud features hide a quiet one, and the remaining places of a
    support go to atoms that only fit noise. In the residual, the loud features are gone. An atom joins, and a code
    stays, above ``share`` times the universal threshold sigma sqrt(2 ln K), which the largest of K correlations with
    noise hardly exceeds (Donoho and Johnstone 1994). Sigma is the root mean squared residual of a coordinate.

    Parameters
    ----------
    x_BR, atoms_KR, gram_KK, sweeps
        As in `nonnegative_codes`.
    codes
        The codes so far, for these atoms.
    s
        Largest number of atoms that join a support.
    share
        Factor of the universal threshold.
    precision
        Precision of the product with residuals.
    """
    (B, R), K = x_BR.shape, len(atoms_KR)

    def limit(solution: Codes) -> float:
        return share * math.sqrt(2 * math.log(K) * float(solution.errors.mean()) / R)

    residuals = x_BR - codes.reconstruct(atoms_KR)
    bounds = atoms_KR.new_full((K,), limit(codes))
    missed = largest_correlations(residuals, atoms_KR, s, precision)
    strong = (residuals[missed.rows] * atoms_KR[missed.columns]).sum(1) > bounds[missed.columns]
    exceeds = codes.values > bounds[codes.support.columns]
    rows = torch.cat([codes.support.rows[exceeds], missed.rows[strong]]).long()
    columns = torch.cat([codes.support.columns[exceeds], missed.columns[strong]]).long()
    # unique, because a kept atom joins a second time if the sweeps were too few for its code
    entries = torch.unique(rows * K + columns)
    shape, group = (B, 1, K), torch.zeros_like(entries)
    support, _ = assemble(entries // K, (entries % K).int(), group, shape, codes.support.kernels)
    joint_codes = nonnegative_codes(x_BR, atoms_KR, gram_KK, support, sweeps)
    support, places = subset(support, joint_codes.values > limit(joint_codes))
    return nonnegative_codes(x_BR, atoms_KR, gram_KK, support, sweeps, joint_codes.values[places])
