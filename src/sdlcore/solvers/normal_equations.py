"""The dictionary step: ridge least squares for all atoms at once, from running normal equations."""

import torch
from torch import Tensor

from sdlcore.solvers import kernels as loops
from sdlcore.solvers.codes import Codes
from sdlcore.sparse.kernels.calling import set_numba_threads

CHECKED = 16
"""Number of dimensions whose objective is checked in a step. J is a sum over dimensions, minimised separately."""
ROUNDING = 1e-4
"""Largest relative rise of an objective that counts as float32 rounding."""


class NormalEquations:
    """Running sums A = sum c c^T (K x K) and B = sum c x^T (K x n_r) over batches, with exponential forgetting.

    The sums A and B define J(D) = tr(D^T A D) - 2 tr(B^T D). Up to a constant, J is the squared error of all samples so
    far with their codes at the time (Mairal et al. 2010, eq. 9). J has the unit of squared error.

    Parameters
    ----------
    K, n_r
        Numbers of atoms and of dimensions.

    Attributes
    ----------
    A, B
        The sums.
    worth
        The running sum of the error increase without each atom (K).
    """

    def __init__(self, K: int, n_r: int) -> None:
        self.A = torch.zeros(K, K, dtype=torch.float32)
        self.B = torch.zeros(K, n_r, dtype=torch.float32)
        self.worth = torch.zeros(K, dtype=torch.float32)

    def add(self, codes: Codes, x_BR: Tensor, forgetting: float) -> None:
        """Multiply all sums by ``forgetting`` and add a batch."""
        set_numba_threads()
        atom_offsets, samples, order = codes.support.by_latent
        self.A *= forgetting
        loops.add_outer(
            atom_offsets.numpy(),
            samples.numpy(),
            order.numpy(),
            codes.support.offsets.numpy(),
            codes.support.columns.numpy(),
            codes.values.numpy(),
            self.A.numpy(),
        )
        products, _ = codes.support.kernels.scatter_sum(atom_offsets, samples, order, codes.values, x_BR)
        self.B.mul_(forgetting).add_(products)
        self.worth.mul_(forgetting).add_(codes.worths())

    @property
    def energies(self) -> Tensor:
        """Each atom's sum of squared codes (K)."""
        return self.A.diagonal()

    def solve(self, atoms_KR: Tensor, ridge: float) -> Tensor:
        """Return the D that minimises J(D) + lambda |D - D_0|^2, where lambda is ``ridge`` times a typical atom energy.

        The proximal term keeps an atom without samples in place and makes the matrix regular; for other atoms it is far
        below the noise. If float32 rounding makes the matrix irregular all the same (more atoms than samples), or if J
        rises in any of the `CHECKED` dimensions, the system is solved in float64, with increasing ridge.

        Raises
        ------
        ValueError
            If no ridge is large enough.
        """
        weight = max(ridge * typical_value(self.energies), 1e-30)
        for dtype, factor in ((torch.float32, 1.0), (torch.float64, 1.0), (torch.float64, 1e2), (torch.float64, 1e4)):
            solved = self._solve(atoms_KR, weight * factor, dtype)
            if solved is not None and not self._rises(atoms_KR, solved):
                return solved
        raise ValueError(f"least squares for {len(atoms_KR)} atoms have no solution in float64; raise ridge")

    def _solve(self, atoms_KR: Tensor, weight: float, dtype: torch.dtype) -> Tensor | None:
        A = self.A.to(dtype, copy=True)
        A.diagonal().add_(weight)
        factor, info = torch.linalg.cholesky_ex(A)
        if info:
            return None
        right = (self.B + weight * atoms_KR).to(dtype)
        # cholesky_solve returns column-major memory
        return torch.cholesky_solve(right, factor).float().contiguous()

    def _rises(self, before: Tensor, after: Tensor) -> bool:
        """Return whether the objective has risen in one of `CHECKED` evenly spaced dimensions, or is not finite."""
        some = torch.linspace(0, before.shape[1] - 1, min(CHECKED, before.shape[1]), dtype=torch.float32).long()
        first, last = self._objective(before, some), self._objective(after, some)
        scale = torch.maximum(first[1], last[1]) + 1e-30
        return not bool((last[0] - first[0] <= ROUNDING * scale).all())

    def _objective(self, atoms_KR: Tensor, dimensions: Tensor) -> tuple[Tensor, Tensor]:
        """Return J in some dimensions, and the magnitude of its terms, which sets the scale of rounding."""
        D, B = atoms_KR[:, dimensions].double(), self.B[:, dimensions].double()
        quadratic = (D * (self.A @ D.float()).double()).sum(0)
        return quadratic - 2 * (B * D).sum(0), quadratic.abs() + 2 * (B * D).abs().sum(0)

    def rescale(self, norms_K: Tensor) -> None:
        """Multiply codes by ``norms_K``, to match atoms divided by their norms; reconstructions do not change."""
        self.A *= norms_K[:, None]
        self.A *= norms_K
        self.B *= norms_K[:, None]

    def forget(self, atoms: Tensor) -> None:
        """Zero the sums of some atoms (indices)."""
        self.A[atoms] = 0
        self.A[:, atoms] = 0
        self.B[atoms] = 0
        self.worth[atoms] = 0

    def keep(self, atoms: Tensor) -> None:
        """Drop all atoms but these (indices)."""
        self.A = self.A[atoms].index_select(1, atoms)
        self.B = self.B[atoms]
        self.worth = self.worth[atoms]


def typical_value(values_K: Tensor) -> float:
    """Return the mean of non-negative values, weighted by the values: atoms that hardly matter do not move it."""
    total = float(values_K.sum(dtype=torch.float64))
    return float(values_K.double().square().sum()) / total if total > 0 else 0.0
