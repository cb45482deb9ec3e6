"""The results of one pass of a model over a batch."""

from typing import NamedTuple

import scipy.sparse
from torch import Tensor

from sdlcore.sparse.support import Support


class Forward(NamedTuple):
    """Results of one pass over B samples, at the N entries of a support."""

    support: Support
    """The entries (sample, latent) that may be nonzero."""
    pre: Tensor
    """Pre-activations W_E x_p + b_E of these entries (N); -1e9 for auxiliary latents, so that no term counts them."""
    values: Tensor
    """Latents x_q = sigma(pre) of these entries (N); zero for auxiliary latents, which only ``aux`` contains."""
    x_hat: Tensor
    """B x n_r reconstruction of x_r."""
    scales: Tensor
    """B x scales x n_r reconstructions from increasing parts of the code. The last one is ``x_hat``."""
    aux: Tensor | None
    """B x n_r: the reconstruction from auxiliary latents, without b_D; None without auxiliary latents."""
    norms: Tensor | None
    """n_q: norm of each decoder row, summed over sites; None if not requested, or if all are one."""
    linear: Tensor | None
    """B x n_r: the linear path W_skip x_p, which ``x_hat`` contains; None if the model has no linear path."""

    def latents(self) -> Tensor:
        """Return the latents as B x n_q."""
        return self.support.dense(self.values)

    def csr(self) -> scipy.sparse.csr_array:
        """Return the active latents (B x n_q), without gradients; not for passes with scales or auxiliary latents."""
        return self.support.csr(self.values)

    def active(self) -> Tensor:
        """Return the number of active latents of each sample (B)."""
        return self.support.sum_by_sample(self.fires().to(self.values.dtype))

    def fires(self) -> Tensor:
        """Return N booleans: whether each entry's latent is active, that is, not zero. NaN counts as inactive."""
        return self.values.detach().abs() > 0
