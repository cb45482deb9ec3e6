"""The sparse coder: autoencoder, transcoder and crosscoder as one model.

Numbers of equations, sections and definitions refer to arXiv 2512.05534, whose letters name dimensions here: x_p is the
input (n_p, ``d_in`` elsewhere), x_q the latents (n_q, ``d_sae``), x_r the target (n_r, ``d_out``). A suffix such as _BP
gives the dimensions of a tensor, with B samples, N entries of the latents and K entries of a sample.
"""

from typing import NamedTuple

import scipy.sparse
import torch
from torch import Tensor, nn

from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.activations.registry import make_sigma
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.encoding import WHOLE, Auxiliary, Encoding, Scales
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.run import ModelConfig
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.row_norms import RowNorms
from sdlcore.sparse.preactivations import check_type
from sdlcore.sparse.products import decode_at, encode_all
from sdlcore.sparse.support import Support, everything

FEW = 16
"""Samples up to which `SparseCoder.encode` computes the activation's definition; a search takes longer to begin."""


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


class SparseCoder(nn.Module):
    """One sparse dictionary model.

        latents = sigma(W_E x_p + b_E)
        x_r_hat = W_D latents + b_D

    With x_r = x_p the model is a sparse autoencoder, with another x_r a transcoder; a crosscoder reads and writes the
    concatenation of several sites. A transcoder may add a linear path, W_skip x_p, to the reconstruction (Paulo et al.
    2025). A model from a solver may compute its latents by pursuit: non-negative least squares over the latents that
    sigma chose (`sdlcore.model.encoding`). Latent i has row i of `W_enc` (the paper's W_E[i, :]) and row i of `W_dec`
    (the paper's column W_D[:, i]); `W_dec` is stored by rows because a sparse code reads whole directions.

    Parameters
    ----------
    config
        The architecture.
    input_sites, target_sites
        Widths of the sites that make up x_p and x_r; their sums are n_p and n_r.
    generator
        Random generator for the initial weights; None for zeros, to be loaded later.

    Attributes
    ----------
    W_enc, W_dec
        n_q x n_p, n_q x n_r. With ``tied``, `W_enc` and `W_dec` are one parameter during training. Afterwards `untie`
        splits it in two, because folding the normalisation of activations changes encoder and decoder differently.
    archetypes
        Parameters that training changes instead of `W_dec`, with ``archetypes``; otherwise, and after `untie`, None.
    processes
        The processes that share the latents, or the samples of a batch. Each process stores the weights of its own
        latents.
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
        self.archetypes: Archetypes | None = None
        if generator is not None:
            self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        self._check_activation_parameters()
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

    def _check_activation_parameters(self) -> None:
        """Raise ValueError unless each trainable parameter of the activation has one element per latent, all `initial`.

        Resampling restarts a dead latent, and sets its element of each parameter to `initial`.
        """
        n_q = self.config.n_q
        for name, parameter in self.sigma.named_parameters():
            subject = f"activation {self.config.activation}: parameter {name}"
            if parameter.shape[:1] != (n_q,):
                shape = tuple(parameter.shape)
                raise ValueError(f"{subject} has shape {shape}, expected one element for each of {n_q} latents (n_q)")
            start = self.sigma.initial(name)
            if bool((parameter != start).any()):
                raise ValueError(
                    f"{subject} starts at other values than {float(start):g}, which resampled latents get; start at "
                    f"{float(start):g}, or return your value from initial(name)"
                )

    @property
    def latent_names(self) -> list[str]:
        """Names of the parameters that have one row or element per latent; other parameters are shared."""
        names = (name for name, _ in self.named_parameters())
        return ["W_enc", "b_enc", "W_dec", *(name for name in names if name.startswith(("sigma.", "archetypes.")))]

    def untie(self) -> None:
        """Give the decoder a matrix of its own, if it shares the encoder's matrix or is computed from archetypes."""
        if self.W_dec is self.W_enc or self.archetypes is not None:
            self.W_dec = nn.Parameter(self.W_dec.detach().clone(), requires_grad=self.W_dec.requires_grad)
            self.archetypes = None

    @property
    def decoder_is_unit(self) -> bool:
        """Whether every decoder row has norm one in its single site."""
        return self.config.decoder_norm == "unit" and len(self.target_sites) == 1

    @property
    def weights(self) -> Weights:
        """Encoder and decoder with their biases."""
        return Weights(self.W_enc, self.b_enc, self.W_dec, self.b_dec)

    def encode(self, x_BP: Tensor) -> Tensor:
        """Return the latents (B x n_q) of B samples of x_p (B x n_p)."""
        if self._needs_search(x_BP):
            code = self._encoding(kernels_for(self.W_enc.device))(x_BP)
            return code.support.dense(code.values)
        check_type(self.W_enc)
        latents_BQ: Tensor = self.sigma(encode_all(x_BP, self.W_enc, self.b_enc))
        return latents_BQ

    def encode_csr(self, x_BP: Tensor) -> scipy.sparse.csr_array:
        """Return the active latents (B x n_q) of B samples of x_p (B x n_p), without gradients."""
        kernels = kernels_for(self.W_enc.device)
        if self._needs_search(x_BP):
            code = self._encoding(kernels)(x_BP)
            return code.support.csr(code.values)
        latents_BQ = self.encode(x_BP)
        return everything(len(x_BP), len(self.W_enc), kernels, x_BP.device).csr(latents_BQ.flatten())

    def _needs_search(self, x_BP: Tensor) -> bool:
        """Return whether `Encoding` encodes these samples, instead of the activation's definition alone."""
        is_more = isinstance(self.sigma, Encoder) or self.config.pursuit > 0 or self.processes.all.size > 1
        return is_more or len(x_BP) > FEW

    def _encoding(self, kernels: Kernels) -> Encoding:
        return Encoding(self.config, self.sigma, self.weights, self.processes, kernels)

    def decode(self, latents_BQ: Tensor) -> Tensor:
        """Return W_D x_q + b_D (B x n_r), without the linear path of a transcoder."""
        return latents_BQ @ self.W_dec + self.b_dec

    def forward(
        self,
        x_BP: Tensor,
        scales: Scales = WHOLE,
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
            Parts of each code, for the multi-scale loss: each part gets a reconstruction of its own.
        auxiliary
            Dead latents, for the auxiliary loss: they get a reconstruction of their own.
        precision
            Type of the search's dense product; None for the type of the weights. In a lower type the search proposes
            more latents than needed. Their pre-activations are then computed from the weights, and the search chooses
            among them.
        norms
            Also return the norms of decoder rows, unless `decoder_is_unit`.
        kernels
            The kernels of a training, which keep large buffers between passes; None for new ones (`kernels_for`).
        row_norms
            Receives the norms of the rows of both weights' gradients in the backward pass, for clipping.
        """
        kernels = kernels or kernels_for(self.W_enc.device)
        # encoder and activation: the latents, at the entries where they may be nonzero
        code = self._encoding(kernels)(x_BP, scales, auxiliary, precision, row_norms)
        # decoder: W_D latents, for each scale
        groups = scales.number, row_norms, scales.detached
        norms_Q = None
        if self.archetypes is None:
            sites = self.target_sites if norms and not self.decoder_is_unit else ()
            parts, norms_Q = decode_at(code.decoded, code.support, self.W_dec, sites, *groups)
        else:
            parts = self.archetypes.decode_at(code.decoded, code.support, *groups)
        parts = self.processes.latents.sum(parts)
        aux_BR = None
        if code.has_auxiliary:
            parts, aux_BR = parts.split([scales.number, 1], dim=1)
            aux_BR = aux_BR.squeeze(1)
        linear_BR = x_BP @ self.W_skip if self.config.skip else None
        scale_BSR = parts + (self.b_dec if linear_BR is None else self.b_dec + linear_BR[:, None])
        # squeeze where possible, because the gradient of an index is a copy
        x_hat = scale_BSR.squeeze(1) if scales.number == 1 else scale_BSR[:, -1]
        return Forward(code.support, code.pre, code.values, x_hat, scale_BSR, aux_BR, norms_Q, linear_BR)

    @torch.no_grad()
    def constrain(self) -> None:
        """Enforce constraints: unit decoder rows or archetypes (if configured), non-negative thresholds."""
        if self.config.decoder_norm == "unit":
            kernels_for(self.W_dec.device).normalise_rows(self.W_dec.detach())
        if self.archetypes is not None:
            self.archetypes.constrain()
            self.write_rows()
        self.sigma.constrain()

    @torch.no_grad()
    def write_rows(self) -> None:
        """Compute `W_dec` from archetypes, if there are any. Training steps leave `W_dec` out of date."""
        if self.archetypes is not None:
            self.W_dec.copy_(self.archetypes())
