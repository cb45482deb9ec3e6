"""The sparse coder: autoencoder, transcoder and crosscoder as one model (Definition 2.5)."""

from typing import NamedTuple

import scipy.sparse
import torch
from torch import Tensor, nn

from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.activations.registry import make_sigma
from sdlcore.model.pursuit import refined
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.parallel.search import divided, ranks_among
from sdlcore.run import ModelConfig
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels, SparseRows
from sdlcore.sparse.kernels.row_norms import RowNorms
from sdlcore.sparse.preactivations import Preactivations
from sdlcore.sparse.products import decode, encode_at
from sdlcore.sparse.search import Search
from sdlcore.sparse.support import Entries, Support, assemble, everything


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


class Scales(NamedTuple):
    """Reconstructions from parts of a code (eq. 9): of the largest latents, or of the first (Bussmann et al. 2025)."""

    multi_k: tuple[int, ...] = ()
    """From the k_i largest latents, ascending."""
    prefixes: tuple[int, ...] = ()
    """From the latents before each of these, ascending."""

    @property
    def number(self) -> int:
        return max(len(self.multi_k), len(self.prefixes), 1)


class Auxiliary(NamedTuple):
    """Latents that are to reconstruct beside the active ones (eq. 8)."""

    dead: Tensor
    """Indices of the latents to choose from."""
    k: int
    """How many of them a sample."""


class _Code(NamedTuple):
    """The latents of a batch, at the N entries of a support."""

    support: Support
    pre: Tensor
    """Pre-activations (N); far below zero at the entries of auxiliary latents."""
    values: Tensor
    """Latents (N); zero at the entries of auxiliary latents."""
    decoded: Tensor
    """What is decoded (N): latents and auxiliary latents."""


_WHOLE = Scales()
_NEVER = -1e9
"""A pre-activation below every threshold that a sigma, a kernel or a penalty sees."""
SLACK = 1.25
"""How many more latents than k a product in a lower type proposes, to be ranked by exact pre-activations."""


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
        aux = self._auxiliary(x_BP, auxiliary, kernels) if auxiliary is not None else None
        search = self.sigma.search()
        if search is None:
            code = self._encode_densely(x_BP, scales, aux, precision, kernels)
        else:
            found = self._find(divided(search, self.processes), x_BP, precision, kernels)
            code = self._encode_at_entries(x_BP, found, scales, aux, row_norms)
        sites = self.target_sites if norms and not self.decoder_is_unit else ()
        parts, norms_Q = decode(code.decoded, code.support, self.W_dec, sites, scales.number, row_norms)
        parts = self.processes.latents.sum(parts)
        aux_BR = None
        if aux is not None:
            parts, aux_BR = parts.split([scales.number, 1], dim=1)
            aux_BR = aux_BR.squeeze(1)
        linear_BR = x_BP @ self.W_skip if self.config.skip else None
        scale_BSR = parts + (self.b_dec if linear_BR is None else self.b_dec + linear_BR[:, None])
        # not an index where there is but one: its gradient is a copy
        x_hat = scale_BSR.squeeze(1) if scales.number == 1 else scale_BSR[:, -1]
        return Forward(code.support, code.pre, code.values, x_hat, scale_BSR, aux_BR, norms_Q, linear_BR)

    def _encode_at_entries(
        self,
        x_BP: Tensor,
        found: Entries,
        scales: Scales,
        aux: tuple[Tensor, Tensor] | None,
        row_norms: RowNorms | None,
    ) -> _Code:
        """Return the code at the entries of a search. Nothing is computed or differentiated elsewhere."""
        if scales.number == 1 and aux is None:
            pre_N = encode_at(x_BP, self.W_enc, self.b_enc, found.support, found.pre, row_norms)
            values_N = self._values(pre_N, found.support)
            if self.config.pursuit:
                values_N = refined(x_BP - self.b_dec, self.W_dec, found.support, self.config.pursuit)
            return _Code(found.support, pre_N, values_N, values_N)
        support, order, is_aux_N = self._split(found, scales, aux)
        # those of the auxiliary latents are not known yet
        known_N = found.pre[order] if is_aux_N is None else None
        pre_N = encode_at(x_BP, self.W_enc, self.b_enc, support, known_N, row_norms)
        if is_aux_N is None:
            values_N = self._values(pre_N, support)
            return _Code(support, pre_N, values_N, values_N)
        aux_N, pre_N = torch.relu(pre_N), torch.where(is_aux_N, _NEVER, pre_N)
        values_N = torch.where(is_aux_N, 0.0, self._values(pre_N, support))
        return _Code(support, pre_N, values_N, torch.where(is_aux_N, aux_N, values_N))

    def _encode_densely(
        self,
        x_BP: Tensor,
        scales: Scales,
        aux: tuple[Tensor, Tensor] | None,
        precision: torch.dtype | None,
        kernels: Kernels,
    ) -> _Code:
        """Return the code of an activation that declares no search: every latent, by the definition."""
        name = self.config.activation
        if self.processes.latents.size > 1:
            raise ValueError(f"activation {name} declares no search, so one process needs all latents; divide samples")
        if precision is not None and precision != self.W_enc.dtype:
            raise ValueError(f"activation {name} declares no search, which precision is for; set precision float32")
        if self.config.pursuit:
            raise ValueError(f"activation {name} declares no search, which pursuit needs; set pursuit 0")
        pre_BQ = torch.addmm(self.b_enc, x_BP, self.W_enc.T)
        if isinstance(self.sigma, Encoder):
            latents_BQ = self.sigma.encode(x_BP, Weights(self.W_enc, self.b_enc, self.W_dec, self.b_dec))
        else:
            latents_BQ = self.sigma(pre_BQ)
        whole = Entries(everything(len(pre_BQ), pre_BQ.shape[1], kernels, x_BP.device), latents_BQ.flatten())
        if scales.number == 1 and aux is None:
            return _Code(whole.support, pre_BQ.flatten(), whole.pre, whole.pre)
        support, order, is_aux_N = self._split(whole, scales, aux)
        pre_N, values_N = pre_BQ.flatten(), whole.pre
        if is_aux_N is None:
            return _Code(support, pre_N[order], values_N[order], values_N[order])
        assert aux is not None
        aux_N = torch.relu(pre_BQ[aux])
        nothing_N = torch.zeros_like(aux_N)
        pre_N = torch.cat([pre_N, nothing_N + _NEVER])[order]
        decoded_N = torch.cat([values_N, aux_N])[order]
        return _Code(support, pre_N, torch.cat([values_N, nothing_N])[order], decoded_N)

    def _values(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return the latents at entries of this process's part of the batch."""
        support.least_of_all = self.processes.all.least
        return self.sigma.values(pre_N, support)

    @torch.no_grad()
    def _find(self, search: Search, x_BP: Tensor, precision: torch.dtype | None, kernels: Kernels) -> Entries:
        """Return the entries that a search finds, with exact pre-activations."""
        pre_BQ = Preactivations(x_BP, self.W_enc, self.b_enc, precision, kernels=kernels)
        if pre_BQ.exact:
            return search.find(pre_BQ)
        support, _ = search.find(pre_BQ, SLACK)
        return search.narrow(Entries(support, encode_at(x_BP, self.W_enc, self.b_enc, support)))

    @torch.no_grad()
    def _auxiliary(self, x_BP: Tensor, auxiliary: Auxiliary, kernels: Kernels) -> tuple[Tensor, Tensor] | None:
        """Return the auxiliary latents as samples and latents, None where there are none to choose from."""
        latents, (dead, k) = self.processes.latents, auxiliary
        if not sum(latents.counts(len(dead))):
            return None
        dead_BD = torch.addmm(self.b_enc[dead], x_BP, self.W_enc[dead].T)
        values_BK, places_BK = dead_BD.topk(min(k, len(dead)), sorted=False)
        sample_BK = torch.arange(len(x_BP), device=dead.device)[:, None].expand_as(places_BK)
        if latents.size == 1:
            return sample_BK.flatten(), dead[places_BK].flatten()
        kept_BK = ranks_among(values_BK, latents, kernels) < k
        return sample_BK[kept_BK], dead[places_BK[kept_BK]]

    def _split(
        self, found: Entries, scales: Scales, aux: tuple[Tensor, Tensor] | None
    ) -> tuple[Support, Tensor, Tensor | None]:
        """Divide the entries into scales, and auxiliary latents, each a row of its own of a sample.

        Returns the new support, which of the entries, followed by the auxiliary ones, each of its entries is, and which
        of them are auxiliary (None without any).
        """
        support, pre_N = found
        sample_N, latent_N = support.rows, support.columns
        group_N = torch.zeros_like(sample_N)
        if scales.multi_k:
            search = self.sigma.search()
            if search is None:
                raise TypeError(f"multi_k needs activation topk or batchtopk, found {self.config.activation}")
            edges = torch.tensor(scales.multi_k[:-1], device=pre_N.device)
            group_N = torch.bucketize(divided(search, self.processes).ranks(pre_N, support), edges, right=True)
        elif scales.prefixes:
            before = self.processes.latents.rank * support.n_q
            edges = torch.tensor(scales.prefixes[:-1], device=pre_N.device) - before
            group_N = torch.bucketize(latent_N, edges, right=True)
        groups = scales.number
        if aux is not None:
            sample_N = torch.cat([sample_N, aux[0]])
            latent_N = torch.cat([latent_N, aux[1].to(latent_N.dtype)])
            group_N = torch.cat([group_N, group_N.new_full((len(aux[0]),), groups)])
            groups += 1
        shape = support.n_samples, groups, support.n_q
        split, order = assemble(sample_N, latent_N, group_N, shape, support.kernels)
        return split, order, None if aux is None else group_N[order] == scales.number

    @torch.no_grad()
    def constrain(self) -> None:
        """Put parameters where they must be: decoder rows on the sphere, thresholds above zero."""
        if self.config.decoder_norm == "unit":
            kernels_for(self.W_dec.device).normalise_rows(self.W_dec.detach())
        self.sigma.constrain()
