"""Pre-activations W_E x_p + b_E, looked through and not kept."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.model import kernels, screening
from sdlcore.model.kernels import Tile, torch_ops, workspace
from sdlcore.model.support import Support

TILE = 2000
"""Latents whose pre-activations a CPU computes at once, twice as many in bfloat16: few enough to be searched while they
are in its caches, and enough to keep it busy."""


class Entries(NamedTuple):
    """Some of the pre-activations of a batch."""

    support: Support
    """Which."""
    pre: Tensor
    """Their values (N), as exact as the type that they were computed in."""


class Preactivations:
    """W_E x_p + b_E of B samples, as something to search.

    Every search computes the dense product anew. On a CPU it does so tile by tile, and no more than a tile is ever in
    memory.

    Parameters
    ----------
    x_BP, W_enc_QP, b_enc_Q
        Samples, encoder and its bias; nothing is differentiated.
    dtype
        Type of the product; None for the weights' own. torch.int8, on CPUs only, rounds each sample and each row of
        the encoder to 255 numbers, equally spaced up to the largest in it.
    screened
        Whether a product in bfloat16 may be used to find what float32's has (`sdlcore.model.screening`). None for
        where that is faster.
    added
        Where the type is bfloat16, on a CPU: numbers of each sample and of each latent (B x m and n_q x m), whose
        products are added to the pre-activations.
    """

    def __init__(
        self,
        x_BP: Tensor,
        W_enc_QP: Tensor,
        b_enc_Q: Tensor,
        dtype: torch.dtype | None = None,
        screened: bool | None = None,
        added: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.x, self.W, self.b = x_BP.detach(), W_enc_QP.detach(), b_enc_Q.detach()
        self.dtype = dtype or self.W.dtype
        self.added = added
        if screened is None:
            screened = self.x.numel() * len(self.W) >= screening.LEAST and screening.pays()
        self.screened = screened and self.exact and self.dtype == torch.float32 and not self.on_gpu
        if added is not None and (self.dtype != torch.bfloat16 or self.on_gpu):
            raise ValueError("added is for products in bfloat16, on a CPU")
        if self.dtype == torch.int8 and self.on_gpu:
            raise ValueError("precision int8 is for CPUs; on a GPU set bfloat16")
        if self.dtype == torch.int8 and self.x.shape[1] == 1:
            raise ValueError("precision int8 needs inputs of two dimensions or more")  # torch's product is wrong there

    @property
    def shape(self) -> tuple[int, int]:
        """B and n_q."""
        return len(self.x), len(self.W)

    @property
    def on_gpu(self) -> bool:
        return self.W.device.type != "cpu"

    @property
    def exact(self) -> bool:
        """Whether they are computed in the weights' own type."""
        return self.dtype == self.W.dtype

    def largest(self, k: int) -> Entries:
        """Return the k largest of each sample. On a CPU the positive ones among them, on a GPU all of them."""
        if self.on_gpu:
            # to leave some out, their number would have to travel to the host
            whole_BQ = self._whole()
            return self._taken(whole_BQ, *torch_ops.topk(whole_BQ, k))
        if self.screened:
            return screening.largest(self, k)
        dtype = torch.bfloat16 if self.dtype == torch.bfloat16 else self.b.dtype
        offsets, columns, values = kernels.largest(self._tiles(), len(self.x), k, dtype)
        return self.entries(offsets, columns, values.to(self.b.dtype))

    def above(self, bounds_Q: Tensor) -> Entries:
        """Return those that exceed their latent's bound."""
        if self.on_gpu:
            whole_BQ = self._whole()
            return self._taken(whole_BQ, *torch_ops.above(whole_BQ, bounds_Q))
        if self.screened:
            return screening.above(self, bounds_Q)
        return self.entries(*kernels.above(self._tiles(), len(self.x), bounds_Q.to(self.b.dtype)))

    def some(self, every: int) -> Tensor:
        """Return those of each ``every``-th sample, in the weights' own type."""
        return torch.addmm(self.b, self.x[::every], self.W.T)

    def entries(self, offsets: Tensor, columns: Tensor, values: Tensor) -> Entries:
        """Return entries that are given by rows."""
        return Entries(Support(offsets, columns, len(self.W)), values)

    def unscreened(self, samples: Tensor | slice = slice(None)) -> "Preactivations":
        """Return those of some samples, to be searched in the product itself."""
        return Preactivations(self.x[samples], self.W, self.b, screened=False)

    def _whole(self) -> Tensor:
        return torch.addmm(self.b.to(self.dtype), self.x.to(self.dtype), self.W.to(self.dtype).T)

    def _taken(self, whole_BQ: Tensor, offsets: Tensor, columns: Tensor) -> Entries:
        return self.entries(offsets, columns, torch_ops.take(whole_BQ, offsets, columns).to(self.b.dtype))

    def _tiles(self) -> Iterator[Tile]:
        to_x, to_W = self.added if self.added is not None else (None, None)
        x, steps = self._converted(self.x, added=to_x)
        width = 2 * TILE if self.dtype == torch.bfloat16 else TILE
        for start in range(0, len(self.W), width):
            part = slice(start, start + width)
            bias = self.b[part]
            W, scale = self._converted(self.W[part], bias, to_W[part] if to_W is not None else None)
            to = torch.int32 if self.dtype == torch.int8 else self.dtype
            product = workspace.take((len(x), len(W)), to, W.device)
            if self.dtype == torch.int8:
                torch._int_mm(x, W.T, out=product)
            else:
                torch.mm(x, W.T, out=product)
            yield Tile(start, product, bias, scale, steps)
            workspace.give(product)
            if not self.exact:
                workspace.give(W)
        if not self.exact:
            workspace.give(x)

    def _converted(
        self, rows: Tensor, bias: Tensor | None = None, added: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return rows of x, or of W with their bias, as factors of the product; and what a whole number stands for.

        In bfloat16 the bias, as what two numbers add up to, is part of the product, with two more inputs that are one.
        To have torch add it takes a tenth of the product's time.
        """
        if self.exact:
            return rows, rows.new_ones(len(rows))
        n_p = rows.shape[1]
        if self.dtype == torch.int8:
            converted = workspace.take((len(rows), n_p), self.dtype, rows.device)
            return converted, kernels.quantise(rows, converted)
        width = n_p + 2 + (added.shape[1] if added is not None else 0)
        converted = workspace.take((len(rows), width), self.dtype, rows.device)
        if self.dtype == torch.bfloat16 and rows.dtype == torch.float32:
            kernels.to_bfloat16(rows, rows.new_zeros(len(rows)) if bias is None else bias, converted)
        else:
            converted[:, :n_p] = rows
            if bias is not None:
                converted[:, n_p] = bias
                converted[:, n_p + 1] = bias - converted[:, n_p].to(bias.dtype)
        if bias is None:
            converted[:, n_p : n_p + 2] = 1
        if added is not None:
            converted[:, n_p + 2 :] = added
        return converted, rows.new_ones(len(rows))
