"""The interface of sparse kernels: the operations of a backend, and their arguments.

A pattern is stored as compressed sparse rows: row r has the columns ``columns[offsets[r]:offsets[r + 1]]``, ascending.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sdlcore.sparse.kernels.row_norms import RowNorms

VANISHED = 2.0**-62
"""An upper bound of numbers whose squares underflow in float32, so that norms miss them."""
LOST_TO_BIAS = 2.0**-21
"""Bound of the float32 rounding error from adding a bias, as a share of the bias."""


class Product(NamedTuple):
    """The factors of W_E x_p + b_E, which is searched without being stored."""

    x: Tensor
    """B x n_p."""
    W: Tensor
    """n_q x n_p."""
    b: Tensor
    """n_q."""
    dtype: torch.dtype
    """Type in which the product is computed."""
    upper: float | None = None
    """Set only if an int8 product on a CPU must give upper bounds of float32 entries (`sdlcore.sparse.screening`): the
    norm of the vector that was subtracted from every row of x and added to b."""

    def negated(self) -> "Product":
        """Return the negative of the product, W_E (-x_p) - b_E."""
        if self.upper is not None:
            raise ValueError("an upper bound with opposite sign is a lower bound")
        return self._replace(x=-self.x, b=-self.b)


class SparseRows(NamedTuple):
    """A subset of the entries of a matrix, as compressed sparse rows."""

    offsets: Tensor
    """B + 1."""
    columns: Tensor
    """N, int32."""
    values: Tensor
    """N."""

    def where(self, mask_N: Tensor) -> "SparseRows":
        """Return the entries selected by a mask."""
        places = mask_N.nonzero().squeeze(1)
        return SparseRows(torch.searchsorted(places, self.offsets), self.columns[places], self.values[places])


class Backward(NamedTuple):
    """Result of `Kernels.decode_backward`."""

    to_values: Tensor
    """`Kernels.dots` of the dictionary and the gradient."""
    to_dictionary: Tensor
    """`Kernels.scatter_sum` of the codes and the gradient."""
    squares: Tensor
    """Squared norms of the rows of ``to_dictionary``."""
    products: Tensor
    """Inner products of the rows of ``to_dictionary`` with the rows of the dictionary."""


class Descent(NamedTuple):
    """A parameter with its gradient and Adam's moments. `Kernels.adam` updates the parameter, moments and step in
    place."""

    p: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor
    """Steps taken so far (0-d)."""
    along: Tensor | None
    """Products of the gradient's rows with the rows of ``p``, if these stay on the unit sphere. The gradient is then
    made tangent to the sphere, and rows are normalised at the end. None for other parameters."""


class Kernels(Protocol):
    """The operations of one backend. `sdlcore.sparse.kernels.choice.kernels_for` chooses a backend."""

    row_norms: RowNorms
    """Norms of the rows of gradients, which backward passes record."""

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised tensor of this shape, with the dtype and device of ``like``.

        Memory that was handed back by `give` is reused if it fits.
        """

    def give(self, tensor: Tensor) -> None:
        """Hand back a tensor that is no longer used, so that `take` can reuse its memory."""

    def largest(self, product: Product, k: int, bounds: Tensor | None = None) -> SparseRows:
        """Return the k largest entries of each row; entries that are not positive may be omitted.

        So may entries that do not exceed their row's bound, if ``bounds`` are given; these are not negative.

        Of equal entries at the edge, the smaller columns are kept; torch's operators may keep any of them.
        """

    def of_both_signs(self, product: Product, k: int) -> tuple[SparseRows, SparseRows]:
        """Return the k largest positive entries of each row of the product, and of each row of its negative.

        Two results of `largest`; the second has the negated values of the entries that are most negative.
        """

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        """Return the entries that exceed their column's bound."""

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        """Return the k largest entries of each row; entries that are not positive may be omitted.

        Of equal entries at the edge, the first are kept.
        """

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pattern by columns: offsets (n_q + 1), rows, and each entry's position in row order."""

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        """Return the rank of each value in its row, from 0 for the largest.

        Of equal values, the earlier value gets the lower rank.
        """

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        """Return out[r] = sum over the entries i of row r of values[i] W[columns[i]]: codes times dictionary."""

    def dots(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1
    ) -> Tensor:
        """Return values[order[i]] = W[c] . x[rows[i] // groups] for the entries i of each column c.

        The values are a dense product, computed only at the entries of a pattern in the form that `transpose` returns.
        """

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return out[c] = sum over the entries i of column c of values[order[i]] x[rows[i] // groups]: codes^T x.

        The pattern has the form that `transpose` returns. The second tensor contains the squared norms of out's rows.
        """

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        """Propagate a gradient with respect to codes times dictionary (`gather_sum`) back to codes and dictionary."""

    def squared_norms(self, W: Tensor) -> Tensor:
        """Return the squared norm of each row."""

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inner products of the rows of A with the rows of W, and the squared norms of the rows of A."""

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        """Return the norm of each row within each site (rows x sites); ``sites`` are widths of column groups."""

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        """Add W to ``out``, each row times a factor per site (rows x sites); ``sites`` are widths of column groups."""

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        """Divide each row by its norm, in place; norms below ``smallest`` count as ``smallest``."""

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        """Take a step of Adam, in place; gradients are divided by ``scale`` (0-d)."""
