"""Search pre-activations W_E x_p + b_E; the B x n_q matrix is never kept."""

import torch
from torch import Tensor

from sdlcore.plugins.registry import in_words
from sdlcore.sparse import screening
from sdlcore.sparse.kernels import int8
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels, Product, SparseRows
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.support import Entries, Support


def check_type(W_enc_QP: Tensor) -> None:
    """Raise ValueError if a CPU gets weights in another type than float32 or float64."""
    if W_enc_QP.dtype not in (torch.float32, torch.float64) and W_enc_QP.device.type == "cpu":
        expected = "but a CPU computes with float32 or float64; call .to(torch.float32)"
        raise ValueError(f"weights are {W_enc_QP.dtype}, {expected}")


class Preactivations:
    """Searchable pre-activations W_E x_p + b_E of B samples.

    Every search computes the dense product again; on a CPU tile by tile (`sdlcore.sparse.kernels.tiles`).

    Parameters
    ----------
    x_BP, W_enc_QP, b_enc_Q
        Samples, encoder and its bias. Searches are not differentiable.
    dtype
        Type of the product; None for the type of the weights. torch.int8, on CPUs only, rounds each sample and each
        encoder row to 255 equally spaced numbers, up to its largest entry.
    screened
        Find the entries of the float32 product by an int8 product (`sdlcore.sparse.screening`), if the processor
        computes int8 correctly. With None, the product is screened if screening is faster.
    kernels
        The kernels that search and compute; None for the device's default (`kernels_for`).

    Raises
    ------
    ValueError
        If a CPU gets weights in another type than float32 or float64, or int8 is not possible here.
    """

    def __init__(
        self,
        x_BP: Tensor,
        W_enc_QP: Tensor,
        b_enc_Q: Tensor,
        dtype: torch.dtype | None = None,
        screened: bool | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        x, W, b = x_BP.detach(), W_enc_QP.detach(), b_enc_Q.detach()
        self.product = Product(x, W, b, dtype or W.dtype)
        self.kernels = kernels or kernels_for(W.device)
        check_type(W)
        compiled = isinstance(self.kernels, NumbaKernels)
        if screened is None:
            screened = x.numel() * len(W) >= screening.LEAST and screening.pays()
        of_type = self.exact and W.dtype == torch.float32 and compiled
        # torch's product in int8 is wrong for inputs of one dimension
        self.screened = screened and of_type and x.shape[1] > 1 and int8.is_exact()
        if dtype == torch.int8 and not compiled:
            raise ValueError("precision int8 works only on CPUs; on a GPU, set bfloat16")
        if dtype == torch.int8 and x.shape[1] == 1:
            raise ValueError("precision int8 needs inputs of two dimensions or more")
        if dtype == torch.int8 and not int8.is_exact():
            raise ValueError(
                "precision int8: products of int8 are wrong on this processor; set precision float32, or unset "
                "ONEDNN_MAX_CPU_ISA if that environment variable is set"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """B and n_q."""
        return len(self.product.x), len(self.product.W)

    @property
    def exact(self) -> bool:
        """True if the product is computed in the type of the weights."""
        return self.product.dtype == self.product.W.dtype

    def largest(self, k: int, bounds_B: Tensor | None = None) -> Entries:
        """Return the k largest entries of each sample; on a CPU, only positive entries.

        Entries that do not exceed their sample's bound, of at least zero, may be omitted.
        """
        if self.screened:
            return self._entries(screening.largest(self.product, k, self.kernels, bounds_B))
        return self._entries(self.kernels.largest(self.product, k, bounds_B))

    def of_both_signs(self, k: int) -> tuple[Entries, Entries]:
        """Return `largest` of the pre-activations and of their negatives."""
        if self.screened:
            above, below = (screening.largest(each, k, self.kernels) for each in (self.product, self.product.negated()))
        else:
            above, below = self.kernels.of_both_signs(self.product, k)
        return self._entries(above), self._entries(below)

    def above(self, bounds_Q: Tensor) -> Entries:
        """Return the entries above the bound of their latent.

        Raises
        ------
        ValueError
            If there is not one bound for each latent.
        """
        if not isinstance(bounds_Q, Tensor) or len(bounds_Q.shape) != 1 or len(bounds_Q) != self.shape[1]:
            raise ValueError(f"bounds are {in_words(bounds_Q)}, expected one for each of {self.shape[1]} latents")
        if self.screened:
            return self._entries(screening.above(self.product, bounds_Q, self.kernels))
        return self._entries(self.kernels.above(self.product, bounds_Q))

    def sample_rows(self, every: int) -> Tensor:
        """Return the pre-activations of every ``every``-th sample, in the type of the weights."""
        x, W, b, *_ = self.product
        return torch.addmm(b, x[::every], W.T)

    def _entries(self, rows: SparseRows) -> Entries:
        return Entries(Support(rows.offsets, rows.columns, self.shape[1], self.kernels), rows.values)
