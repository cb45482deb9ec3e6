"""The operations of the sparse kernels, by torch operators. `NumbaKernels` and `TritonKernels` replace them by loops.

A pattern is stored as compressed sparse rows: row r has the columns ``columns[offsets[r]:offsets[r + 1]]``, ascending.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam as torch_adam

VANISHED = 2.0**-62
"""An upper bound of numbers whose squares underflow in float32, so that norms miss them."""
LOST_TO_BIAS = 2.0**-21
"""Bound of the float32 rounding error from adding a bias, as a share of the bias."""
_GATHERED = 1 << 25
"""Numbers that `Kernels.dots` gathers at once."""


class Product(NamedTuple):
    """The factors of W_E x_p + b_E, which is searched without being stored."""

    x: Tensor
    """B x n_p."""
    W: Tensor
    """n_q x n_p."""
    b: Tensor
    """n_q."""
    dtype: torch.dtype
    """Type of the product."""
    upper: float | None = None
    """Set only if an int8 product on a CPU must give upper bounds of float32 entries (`sdlcore.sparse.screening`): the
    norm of the vector that was subtracted from every row of x and added to b."""

    def negated(self) -> "Product":
        """Return the negative of the product, W_E (-x_p) - b_E."""
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


class RowProducts(NamedTuple):
    """Inner products of the rows of a gradient."""

    squares: Tensor
    """Products of the rows with themselves: squared norms."""
    products: Tensor | None
    """Products with the rows of the gradient's parameter; None if not known."""


class GradientNorms:
    """Row norms and products of one step's gradients, by parameter: backward passes fill it, Adam's clipping reads it.

    autograd passes on a gradient without such by-products, and reading two gradients again would take as long as
    decoding. A gradient is identified by its address, because autograd wraps it in another tensor, and by torch's
    version counter, which detects later writes. The parameter's sum of several gradients differs in one of the two.
    A reference to a gradient, even a weak one, would make autograd sum in new memory, which takes twice the time.
    """

    def __init__(self) -> None:
        self._products: dict[int, tuple[int, int, RowProducts]] = {}

    def clear(self) -> None:
        """Forget all records, before a step's gradients or after a change of them."""
        self._products.clear()

    def note(self, W: Tensor, gradient: Tensor, squares: Tensor | None, products: Tensor | None = None) -> None:
        """Record products of the rows of a gradient of ``W`` in its current version; nothing without ``squares``."""
        if squares is not None:
            self._products[W.data_ptr()] = gradient.data_ptr(), gradient._version, RowProducts(squares, products)

    def of(self, W: Tensor, gradient: Tensor) -> RowProducts | None:
        """Return the record of a gradient of ``W``; None if torch has written to it since, for example to accumulate,
        or if another gradient was recorded."""
        address, version, products = self._products.get(W.data_ptr(), (None, None, None))
        return products if (address, version) == (gradient.data_ptr(), gradient._version) else None


class Kernels:
    """The torch backend, for any device, and the base class of the others; `kernels_for` in `choice` chooses one.

    Attributes
    ----------
    gradient_norms
        Norms of the rows of gradients, which backward passes record.
    """

    def __init__(self) -> None:
        self.gradient_norms = GradientNorms()

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised tensor of this shape, with the dtype and device of ``like``.

        Memory that was handed back by `give` is reused if it fits.
        """
        return like.new_empty(shape)

    def give(self, tensor: Tensor) -> None:
        """Hand back a tensor that is no longer used, so that `take` can reuse its memory."""

    def largest(self, product: Product, k: int, bounds: Tensor | None = None) -> SparseRows:
        """Return the k largest entries of each row; entries that are not positive may be omitted.

        So may entries that do not exceed their row's bound, if ``bounds`` are given; these are not negative.

        Of equal entries at the edge, the smaller columns are kept; torch's operators may keep any of them.
        """
        return _largest(_whole(product), k, product.b.dtype)

    def of_both_signs(self, product: Product, k: int) -> tuple[SparseRows, SparseRows]:
        """Return the k largest positive entries of each row of the product, and of each row of its negative.

        Two results of `largest`; the second has the negated values of the entries that are most negative.
        """
        whole = _whole(product)
        return _largest(whole, k, product.b.dtype), _largest(-whole, k, product.b.dtype)

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        """Return the entries that exceed their column's bound."""
        whole = _whole(product)
        exceeds = whole > bounds.to(whole.dtype)
        offsets = functional.pad(exceeds.sum(1).cumsum(0), (1, 0))
        return _entries_at(whole, offsets, exceeds.nonzero()[:, 1].int(), product.b.dtype)

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        """Return the k largest entries of each row; entries that are not positive may be omitted.

        Of equal entries at the edge, the first are kept.
        """
        return entries.where(self.ranks(entries.offsets, entries.values) < k)

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pattern by columns: offsets (n_q + 1), rows, and each entry's position in row order."""
        ordered, order = columns.sort(stable=True)
        edges = torch.arange(n_q + 1, device=columns.device, dtype=columns.dtype)
        return torch.searchsorted(ordered, edges), _rows_of(offsets, len(columns))[order].int(), order.int()

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        """Return the rank of each value in its row, from 0 for the largest.

        Of equal values, the earlier value gets the lower rank.
        """
        rows = _rows_of(offsets, len(values))
        order = torch.argsort(values, descending=True, stable=True)
        order = order[torch.argsort(rows[order], stable=True)]
        places = torch.arange(len(order), device=order.device) - offsets[rows]
        return torch.empty_like(order).scatter_(0, order, places)

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        """Return out[r] = sum over the entries i of row r of values[i] W[columns[i]]: codes times dictionary."""
        return functional.embedding_bag(
            columns.long(), W, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def dots(self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor) -> Tensor:
        """Return values[order[i]] = W[c] . x[rows[i]] for the entries i of each column c.

        The values are a dense product, computed only at the entries of a pattern in the form that `transpose` returns.
        """
        columns = _rows_of(column_offsets, len(rows))
        at_once = max(1, _GATHERED // W.shape[1])
        parts = [
            torch.linalg.vecdot(W[columns[start : start + at_once]], x[rows[start : start + at_once]])
            for start in range(0, len(rows), at_once)
        ]
        values = torch.cat(parts) if parts else W.new_empty(0)
        return torch.empty_like(values).index_copy_(0, order.long(), values)

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return out[c] = sum over the entries i of column c of values[order[i]] x[rows[i]]: codes^T x.

        The pattern has the form that `transpose` returns. The second tensor contains the squared norms of out's rows.
        """
        out = self.gather_sum(column_offsets, rows, values[order], x)
        return out, self.squared_norms(out)

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        """Propagate a gradient with respect to codes times dictionary (`gather_sum`) back to codes and dictionary."""
        to_values = self.dots(column_offsets, rows, order, W, gradient)
        to_W, squares = self.scatter_sum(column_offsets, rows, order, values, gradient)
        return Backward(to_values, to_W, squares, torch.linalg.vecdot(to_W, W))

    def squared_norms(self, W: Tensor) -> Tensor:
        """Return the squared norm of each row."""
        return W.square().sum(1)

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inner products of the rows of A with the rows of W, and the squared norms of the rows of A."""
        return torch.linalg.vecdot(A, W), self.squared_norms(A)

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        """Return the norm of each row within each site (rows x sites); ``sites`` are widths of column groups."""
        return torch.stack([part.norm(dim=1) for part in W.split(list(sites), dim=1)], 1)

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        """Add W to ``out``, each row times a factor per site (rows x sites); ``sites`` are widths of column groups."""
        parts = out.split(list(sites), dim=1), W.split(list(sites), dim=1), factors.unbind(1)
        for to, part, factor in zip(*parts, strict=True):
            to.addcmul_(part, factor[:, None])

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        """Divide each row by its norm, in place; norms below ``smallest`` count as ``smallest``."""
        W.div_(W.norm(dim=1, keepdim=True).clamp_(min=smallest))

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        """Take a step of Adam, in place; gradients are divided by ``scale`` (0-d)."""
        on_sphere = [(each, each.along) for each in descents if each.along is not None]
        for each, along in on_sphere:
            each.gradient.addcmul_(along[:, None], each.p, value=-1)
        torch_adam(
            [each.p for each in descents],
            [each.gradient for each in descents],
            [each.mean for each in descents],
            [each.square for each in descents],
            [],
            [each.step for each in descents],
            fused=True,
            grad_scale=scale,  # torch divides gradients by it
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=lr,
            weight_decay=0.0,
            eps=eps,
            maximize=False,
        )
        for each, _ in on_sphere:
            self.normalise_rows(each.p)


def _whole(product: Product) -> Tensor:
    x, W, b, dtype, _ = product
    return torch.addmm(b.to(dtype), x.to(dtype), W.to(dtype).T)


def _largest(whole: Tensor, k: int, dtype: torch.dtype) -> SparseRows:
    # always k, positive or not: to omit some, their number would have to travel from a GPU to the host
    columns = whole.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
    offsets = torch.arange(len(whole) + 1, device=whole.device) * k
    return _entries_at(whole, offsets, columns.flatten().int(), dtype)


def _entries_at(whole: Tensor, offsets: Tensor, columns: Tensor, dtype: torch.dtype) -> SparseRows:
    return SparseRows(offsets, columns, whole[_rows_of(offsets, len(columns)), columns].to(dtype))


def _rows_of(offsets: Tensor, n: int) -> Tensor:
    """Return the row of each of ``n`` entries."""
    return torch.repeat_interleave(torch.diff(offsets), output_size=n)
