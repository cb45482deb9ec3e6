"""The interface of sparse kernels: what a backend computes, and what it is given.

A pattern is kept in compressed sparse rows: row r has the columns ``columns[offsets[r]:offsets[r + 1]]``, ascending.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

VANISHED = 2.0**-62
"""More than a number whose square is too small for float32, and so in no norm."""
LOST_TO_BIAS = 2.0**-21
"""What adding a bias may lose in float32, as a share of it."""


class Product(NamedTuple):
    """The factors of W_E x_p + b_E, which is searched and not kept."""

    x: Tensor
    """B x n_p."""
    W: Tensor
    """n_q x n_p."""
    b: Tensor
    """n_q."""
    dtype: torch.dtype
    """Type in which it is computed."""
    upper: float | None = None
    """For upper bounds of float32's entries in int8 on a CPU (`sdlcore.sparse.screening`): the norm of the vector that
    was subtracted from every row of x and added to b. None otherwise."""


class SparseRows(NamedTuple):
    """Some entries of a matrix, as compressed sparse rows."""

    offsets: Tensor
    """B + 1."""
    columns: Tensor
    """N, int32."""
    values: Tensor
    """N."""

    def where(self, mask_N: Tensor) -> "SparseRows":
        """Return the entries in a mask."""
        places = mask_N.nonzero().squeeze(1)
        before = torch.nn.functional.pad(mask_N.cumsum(0), (1, 0))
        return SparseRows(before[self.offsets], self.columns[places], self.values[places])


class Backward(NamedTuple):
    """What `Kernels.decode_backward` returns."""

    to_values: Tensor
    """`Kernels.dots` of the dictionary and the gradient."""
    to_dictionary: Tensor
    """`Kernels.scatter_sum` of the codes and the gradient."""
    squares: Tensor
    """Squared norms of the rows of ``to_dictionary``."""
    products: Tensor
    """Inner products of the rows of ``to_dictionary`` with the dictionary's."""


class Descent(NamedTuple):
    """One parameter and all that a step of Adam needs of it. `Kernels.adam` changes the parameter, moments and step."""

    p: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor
    """Steps taken so far (0-d)."""
    along: Tensor | None
    """The products of the gradient's rows with those of ``p``, where rows of ``p`` stay on the unit sphere: then the
    gradient is made tangent to it, and rows are normalised at the end."""


class Kernels(Protocol):
    """One backend. `sdlcore.sparse.kernels.choice.kernels_for` chooses it."""

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised tensor of the type of another and where that is, a spare one where one is kept."""

    def give(self, tensor: Tensor) -> None:
        """Let a tensor that nobody may use any more be taken again, where tensors are kept."""

    def largest(self, product: Product, k: int) -> SparseRows:
        """Return the k largest entries of each row; those among them that are not positive may be left out.

        Of equal ones at the edge those of smaller column are kept, but by torch's operators, which keep any.
        """

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        """Return the entries that exceed their column's bound."""

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        """Return the k largest entries of each row; those among them that are not positive may be left out.

        Of equal ones at the edge the first are kept.
        """

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pattern by columns: offsets (n_q + 1), rows, and which entry of the rows each entry is."""

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        """Return the place of each value among its row's, descending from 0.

        Of equal values the earlier comes first.
        """

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        """Return out[r] = sum over the entries i of row r of values[i] W[columns[i]]: codes times dictionary."""

    def dots(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1
    ) -> Tensor:
        """Return values[order[i]] = W[c] . x[rows[i] // groups] for the entries i of each column c.

        A dense product, sampled at a pattern that is given as `transpose` gives it.
        """

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return out[c] = sum over the entries i of column c of values[order[i]] x[rows[i] // groups]: codes^T x.

        The pattern is given as `transpose` gives it. The second tensor has the squared norms of ``out``'s rows.
        """

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        """Carry a gradient with respect to codes times dictionary, as `gather_sum` gives them, back to both factors."""

    def squared_norms(self, W: Tensor) -> Tensor:
        """Return the squared norm of each row."""

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inner products of the rows of A with those of W, and with themselves."""

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        """Return the norm of each row in each of the sites (rows x sites) that its columns are divided into."""

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        """Add W to ``out``, each row times a factor (rows x sites) in each of the sites that its columns make up."""

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        """Divide each row by its norm, in place; by ``smallest`` where the norm is below that."""

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        """Take a step of Adam, in place, gradients divided by ``scale`` (0-d) as they are read."""
