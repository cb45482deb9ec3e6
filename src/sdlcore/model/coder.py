"""The sparse coder: autoencoder, transcoder and crosscoder as one model (Definition 2.5)."""

from typing import NamedTuple

import scipy.sparse
import torch
from torch import Tensor, nn

from sdlcore.model.activation import Activation, Weights
from sdlcore.model.activations.registry import make_sigma
from sdlcore.model.encoding import Auxiliary, Encoding, Scales
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.run import ModelConfig
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels, SparseRows
from sdlcore.sparse.kernels.row_norms import RowNorms
from sdlcore.sparse.products import decode
from sdlcore.sparse.support import Support


class Forward(NamedTuple):
    """What one pass over B samples computes, at the N entries of a support."""

    support: Support
    """Which latents of which samples may differ from zero."""
    pre: Tensor
    """Pre-activations W_E x_p + b_E there (N)."""
    values: Tensor
    """Latents x_q = sigma(pre) there (N), or what a pursuit makes of them; zero at the entries of auxiliary latents."""
    x_hat: Tensor
    """B x n_r reconstruction of x_r."""
    scales: Tensor
    """B x scales x n_r reconstructions from ever more latents, of which the last is ``x_hat``."""
    aux: Tensor | None
    """B x n_r: what the auxiliary latents would add, without b_D; None where none were asked for."""
    norms: Tensor | None
    """n_q: norm of each decoder row, summed over sites; None where not asked for or known to be one."""
    linear: Tensor | None
    """B x n_r: the linear path W_skip x_p, which ``x_hat`` contains; None without one."""

    def latents(self) -> Tensor:
        """Return the latents as B x n_q."""
        return self.support.dense(self.values)

    def csr(self) -> scipy.sparse.csr_array:
        """Return the latents above zero, B x n_q, without gradients. There must be one group of rows."""
        found = SparseRows(self.support.offsets, self.support.columns, self.values.detach())
        offsets, columns, values = (part.cpu() for part in found.where(found.values > 0))
        values = values if values.dtype == torch.float64 else values.float()  # numpy has no bfloat16
        # 32 bits for both: with offsets of 64, scipy would widen the columns, too
        parts = values.numpy(), columns.int().numpy(), offsets.int().numpy()
        return scipy.sparse.csr_array(parts, shape=(self.support.n_rows, self.support.n_q))

    def active(self) -> Tensor:
        """Return the number of active latents of each sample (B)."""
        return self.support.sum_by_sample((self.values > 0).to(self.values.dtype))


_WHOLE = Scales()


class SparseCoder(nn.Module):
    """One sparse dictionary model.

        latents = sigma(W_E x_p + b_E)
        x_r_hat = W_D latents + b_D

    With x_r = x_p it is a sparse autoencoder, with another x_r a transcoder; a crosscoder reads and writes the
    concatenation of several sites. A transcoder may have a linear path beside the latents, W_skip x_p (Paulo et al.
    2025). A pursuit puts the best non-negative codes over sigma's latents in the place of their values
    (`sdlcore.model.pursuit`). Latent i has row i of `W_enc` (the paper's W_E[i, :]) and row i of `W_dec` (the
    paper's column W_D[:, i]); `W_dec` is kept by rows because a sparse code reads whole directions.

    Parameters
    ----------
    config
        The architecture.
    input_sites, target_sites
        Widths of the sites that make up x_p and x_r; their sums are n_p and n_r.
    generator
        Stream that draws the initial weights; without one they are zero, to be loaded.

    Attributes
    ----------
    W_enc, W_dec
        n_q x n_p, n_q x n_r. With ``tied`` they are one parameter from the draw until the training is over; raw
        activations may then need them apart (`untie`), and so does a saved model.
    processes
        Those that latents and samples are divided among. Weights are then those of this process's latents.
    """

    processes: Processes = ALONE

    def __init__(
        self,
        config: ModelConfig,
        input_sites: tuple[int, ...],
        target_sites: tuple[int, ...],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.input_sites = tuple(input_sites)
        self.target_sites = tuple(target_sites)
        n_p, n_q, n_r = sum(input_sites), config.n_q, sum(target_sites)
        self.W_enc = nn.Parameter(torch.zeros(n_q, n_p, dtype=torch.float32))
        self.b_enc = nn.Parameter(torch.zeros(n_q, dtype=torch.float32), requires_grad=config.bias)
        self.W_dec = nn.Parameter(torch.zeros(n_q, n_r, dtype=torch.float32))
        self.b_dec = nn.Parameter(torch.zeros(n_r, dtype=torch.float32), requires_grad=config.bias)
        if config.skip:
            self.W_skip = nn.Parameter(torch.zeros(n_p, n_r, dtype=torch.float32))
        self.sigma: Activation = make_sigma(config)
        if generator is not None:
            self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        n_q, n_p = self.W_enc.shape
        n_r = self.W_dec.shape[1]
        if self.config.initialisation == "linear":
            self.W_enc.copy_((2 * torch.rand(n_q, n_p, generator=generator, dtype=torch.float32) - 1) / n_p**0.5)
            self.W_dec.copy_((2 * torch.rand(n_q, n_r, generator=generator, dtype=torch.float32) - 1) / n_q**0.5)
        else:
            directions = torch.randn(n_q, max(n_p, n_r), generator=generator, dtype=torch.float32)
            self.W_dec.copy_(nn.functional.normalize(directions[:, :n_r]))
            self.W_enc.copy_(self.config.init_scale * nn.functional.normalize(directions[:, :n_p]))
        if self.config.tied:
            self.W_dec = self.W_enc
        self.W_enc.requires_grad_(self.config.frozen not in ("encoder", "both"))
        self.W_dec.requires_grad_(self.config.frozen not in ("decoder", "both"))
        self.constrain()

    @property
    def latent_names(self) -> list[str]:
        """Names of the parameters of single latents, by their first dimension; others belong to all."""
        return ["W_enc", "b_enc", "W_dec", *(f"sigma.{name}" for name, _ in self.sigma.named_parameters())]

    def untie(self) -> None:
        """Give the decoder a matrix of its own where it shares the encoder's."""
        if self.W_dec is self.W_enc:
            self.W_dec = nn.Parameter(self.W_enc.detach().clone(), requires_grad=self.W_enc.requires_grad)

    @property
    def decoder_is_unit(self) -> bool:
        """Whether every decoder row has norm one, over all sites, and a single site."""
        return self.config.decoder_norm == "unit" and len(self.target_sites) == 1

    @property
    def weights(self) -> Weights:
        """Encoder and decoder with their biases."""
        return Weights(self.W_enc, self.b_enc, self.W_dec, self.b_dec)

    def encode(self, x_BP: Tensor) -> Tensor:
        """Return the latents (B x n_q) of B samples of x_p (B x n_p)."""
        return self(x_BP).latents()

    def decode(self, latents_BQ: Tensor) -> Tensor:
        """Return W_D x_q + b_D (B x n_r), without the linear path of a transcoder that has one."""
        return latents_BQ @ self.W_dec + self.b_dec

    def forward(
        self,
        x_BP: Tensor,
        scales: Scales = _WHOLE,
        auxiliary: Auxiliary | None = None,
        precision: torch.dtype | None = None,
        norms: bool = False,
        kernels: Kernels | None = None,
        row_norms: RowNorms | None = None,
    ) -> Forward:
        """Encode and reconstruct B samples of x_p (B x n_p).

        Parameters
        ----------
        x_BP
            The samples.
        scales
            Parts of the code to reconstruct from as well.
        auxiliary
            Latents to reconstruct from beside, where there are any.
        precision
            Type in which the dense product is computed; None for the weights' own. In a lower one it may propose other
            latents; their pre-activations are computed anew from the weights, and latents kept by those.
        norms
            Give the norms of decoder rows too, unless `decoder_is_unit`.
        kernels
            What computes, if it is to keep large buffers from pass to pass; None for the device's own (`kernels_for`).
        row_norms
            Takes the norms of the rows of both weights' gradients, in the backward pass.
        """
        kernels = kernels or kernels_for(self.W_enc.device)
        # encoder and activation: the latents, at the entries where they may differ from zero
        encoding = Encoding(self.config, self.sigma, self.weights, self.processes, kernels)
        code = encoding(x_BP, scales, auxiliary, precision, row_norms)
        # decoder: W_D latents, for each scale
        sites = self.target_sites if norms and not self.decoder_is_unit else ()
        parts, norms_Q = decode(code.decoded, code.support, self.W_dec, sites, scales.number, row_norms)
        parts = self.processes.latents.sum(parts)
        aux_BR = None
        if code.has_auxiliary:
            parts, aux_BR = parts.split([scales.number, 1], dim=1)
            aux_BR = aux_BR.squeeze(1)
        linear_BR = x_BP @ self.W_skip if self.config.skip else None
        scale_BSR = parts + (self.b_dec if linear_BR is None else self.b_dec + linear_BR[:, None])
        # not an index where there is but one: its gradient is a copy
        x_hat = scale_BSR.squeeze(1) if scales.number == 1 else scale_BSR[:, -1]
        return Forward(code.support, code.pre, code.values, x_hat, scale_BSR, aux_BR, norms_Q, linear_BR)

    @torch.no_grad()
    def constrain(self) -> None:
        """Put parameters where they must be: decoder rows on the sphere, thresholds above zero."""
        if self.config.decoder_norm == "unit":
            kernels_for(self.W_dec.device).normalise_rows(self.W_dec.detach())
        self.sigma.constrain()
