"""Encode samples: the latents sigma(W_E x_p + b_E), computed only where they may be nonzero.

`Encoding` finds the entries that an activation's search declares, and computes the latents there. An activation without
a search is computed densely. The sparse and the dense computation then divide the entries into scales and add auxiliary
latents, if a loss needs them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.config import LossConfig, ModelConfig
from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.plugins.registry import in_words
from sdlcore.processes import Processes
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.preactivations import Preactivations, check_type
from sdlcore.sparse.products import encode_at
from sdlcore.sparse.search import Search
from sdlcore.sparse.support import Entries, Support, assemble, full_support, sorted_support

NEVER = -1e9
"""A pre-activation below every threshold of an activation, a kernel or a penalty."""
SLACK = 1.25
"""Factor on k: entries that a low-precision product proposes, to be ranked by exact pre-activations."""


class Scales(NamedTuple):
    """Parts of a code, each with its own reconstruction (eq. 9). The last part contains the whole code.

    The activation chooses the latents first; a part then keeps some of these.
    """

    multi_k: tuple[int, ...] = ()
    """The k_i largest latents of each sample, or the k_i B largest of a batch, ascending up to k."""
    prefixes: tuple[int, ...] = ()
    """The latents with an index below each of these numbers, ascending up to n_q (Matryoshka, Bussmann et al. 2025)."""
    detached: bool = False
    """Whether a part's reconstruction passes no gradient to the latents of the parts before it."""

    @classmethod
    def of(cls, loss: LossConfig, model: ModelConfig) -> "Scales":
        """Return the parts that a loss needs."""
        multi_k = tuple(range(1, (model.k or 0) + 1)) if loss.hierarchical else loss.multi_k
        return cls(multi_k, loss.prefixes, loss.prefix_detached)

    @property
    def number(self) -> int:
        return max(len(self.multi_k), len(self.prefixes), 1)


WHOLE = Scales()


class Auxiliary(NamedTuple):
    """Dead latents for the auxiliary loss (eq. 8). In each sample, the largest pre-activations of dead latents are
    decoded, through a ReLU, to a second reconstruction. For signed activations, the largest in absolute value
    are decoded, with their signs."""

    dead: Tensor
    """Indices of the latents to choose from."""
    k: int
    """Number of auxiliary latents of a sample."""


class Code(NamedTuple):
    """The latents of a batch, at the N entries of a support."""

    support: Support
    pre: Tensor
    """Pre-activations (N); far below zero at the entries of auxiliary latents."""
    values: Tensor
    """Latents (N); zero at the entries of auxiliary latents."""
    decoded: Tensor
    """Latents and auxiliary latents (N), for the decoder."""
    has_auxiliary: bool
    """Whether the last of each sample's rows in ``support`` contains its auxiliary latents."""


@dataclass(frozen=True)
class Encoding:
    """Encodes batches with a model's activation and weights."""

    config: ModelConfig
    sigma: Activation
    weights: Weights
    processes: Processes
    """The processes that train the model together, each on a part of every batch."""
    kernels: Kernels

    def __call__(
        self,
        x_BP: Tensor,
        scales: Scales = WHOLE,
        auxiliary: Auxiliary | None = None,
        precision: torch.dtype | None = None,
    ) -> Code:
        """Return the code of B samples. `SparseCoder.forward` documents the arguments."""
        aux = None if auxiliary is None else self.auxiliary(x_BP, auxiliary)
        search = self.sigma.search()
        search = None if search is None else search.among(self.processes)
        if search is None:
            code, pre_aux_N = self.densely(x_BP, scales, aux, precision)
        elif isinstance(self.sigma, Encoder):
            code, pre_aux_N = self.by_encoder(self.sigma, x_BP, aux, precision)
        else:
            code, pre_aux_N = self.at_entries(search, x_BP, aux, precision)
        if scales.number == 1 and pre_aux_N is None:
            support, pre_N, values_N = code
            return Code(support, pre_N, values_N, values_N, False)
        return self.in_groups(code, search, scales, aux, pre_aux_N)

    @torch.no_grad()
    def find(
        self, search: Search, x_BP: Tensor, W_enc: Tensor, b_enc: Tensor, precision: torch.dtype | None
    ) -> Entries:
        """Return the entries that a search finds, with exact pre-activations."""
        pre_BQ = Preactivations(x_BP, W_enc, b_enc, precision, kernels=self.kernels)
        if pre_BQ.exact:
            return search.find(pre_BQ)
        support, _ = search.find(pre_BQ, SLACK)
        return search.narrow(Entries(support, encode_at(x_BP, W_enc, b_enc, support)))

    def at_entries(
        self, search: Search, x_BP: Tensor, aux: tuple[Tensor, Tensor] | None, precision: torch.dtype | None
    ) -> tuple[SparseCode, Tensor | None]:
        """Return the latents at the entries that a search finds, and the pre-activations of auxiliary latents.

        Values and gradients at other entries are zero and are not computed.
        """
        W_enc, b_enc, *_ = self.weights
        support, pre_N = self.find(search, x_BP, W_enc, b_enc, precision)
        pre_aux_N = None
        if aux is None:
            pre_N = encode_at(x_BP, W_enc, b_enc, support, pre_N)
        else:
            # in one support, because two gradients of the whole encoder would take twice the time
            sample_N, latent_N = torch.cat([support.rows, aux[0]]), torch.cat([support.columns, aux[1].int()])
            both, order = sorted_support(sample_N, latent_N, like=support)
            pre_N = torch.empty_like(order, dtype=pre_N.dtype).index_copy(0, order, encode_at(x_BP, W_enc, b_enc, both))
            pre_N, pre_aux_N = pre_N.split([len(support), len(aux[0])])
        return SparseCode(support, pre_N, self.checked(self.sigma.values(pre_N, support), pre_N)), pre_aux_N

    def checked(self, latents: Tensor, pre: Tensor) -> Tensor:
        """Return the latents; ValueError if shape or type differ from ``pre``, or a plugin's latents are negative."""
        name, sigma = self.config.activation, self.sigma
        if latents.shape != pre.shape or latents.dtype != pre.dtype:
            expected = f"expected {in_words(pre)}, an entry for each pre-activation"
            raise ValueError(f"activation {name} returned {in_words(latents)}, {expected}")
        if self.config.by_plugin and not sigma.signed and latents.numel() and (least := latents.detach().min()) < 0:
            remedy = "clamp it, or set signed = True in the class"
            raise ValueError(f"activation {name} returned {float(least):g}, expected none below zero; {remedy}")
        return latents

    def by_encoder(
        self, sigma: Encoder, x_BP: Tensor, aux: tuple[Tensor, Tensor] | None, precision: torch.dtype | None
    ) -> tuple[SparseCode, Tensor | None]:
        """Return the latents that an encoder computes, and the pre-activations of auxiliary latents."""
        check_type(self.weights.W_enc)

        def find(search: Search, x: Tensor, W: Tensor, b: Tensor) -> Entries:
            return self.find(search.among(self.processes), x, W, b, precision)

        W_enc, b_enc, *_ = self.weights
        code = sigma.encode_at(x_BP, EncodingTools(self.weights, self.kernels, find))
        if aux is None:
            return code, None
        support, order = sorted_support(*aux, like=code.support)
        pre_aux_N = torch.empty_like(order, dtype=code.pre.dtype)
        return code, pre_aux_N.index_copy(0, order, encode_at(x_BP, W_enc, b_enc, support))

    def in_groups(
        self,
        code: SparseCode,
        search: Search | None,
        scales: Scales,
        aux: tuple[Tensor, Tensor] | None,
        pre_aux_N: Tensor | None,
    ) -> Code:
        """Divide the latents into scales, and add auxiliary latents, whose pre-activations are ``pre_aux_N``."""
        support, pre_N, values_N = code
        support, order = self.split(support, pre_N.detach(), search, scales, aux)
        if order is None:
            return Code(support, pre_N, values_N, values_N, False)
        if pre_aux_N is None:
            values_N = values_N.index_select(0, order)
            return Code(support, pre_N.index_select(0, order), values_N, values_N, False)
        aux_N = pre_aux_N if self.sigma.signed else torch.relu(pre_aux_N)
        pre_N = torch.cat([pre_N, torch.full_like(aux_N, NEVER)])
        values_N, decoded_N = torch.cat([values_N, torch.zeros_like(aux_N)]), torch.cat([values_N, aux_N])
        pre_N, values_N, decoded_N = (part_N.index_select(0, order) for part_N in (pre_N, values_N, decoded_N))
        return Code(support, pre_N, values_N, decoded_N, True)

    def densely(
        self, x_BP: Tensor, scales: Scales, aux: tuple[Tensor, Tensor] | None, precision: torch.dtype | None
    ) -> tuple[SparseCode, Tensor | None]:
        """Return the latents by the activation's definition, with an entry for every latent, and the pre-activations
        of auxiliary latents."""
        W_enc, b_enc, *_ = self.weights
        for setting, is_set in {
            "precision": precision is not None and precision != W_enc.dtype,
            "multi_k": scales.multi_k,
        }.items():
            if is_set:
                name = self.config.activation
                raise ValueError(f"activation {name} declares no search, which {setting} needs; leave {setting} out")
        pre_BQ = torch.addmm(b_enc, x_BP, W_enc.T)
        sigma = self.sigma
        latents_BQ = sigma.encode(x_BP, self.weights) if isinstance(sigma, Encoder) else sigma(pre_BQ)
        support = full_support(len(pre_BQ), pre_BQ.shape[1], self.kernels, x_BP.device)
        code = SparseCode(support, pre_BQ.flatten(), self.checked(latents_BQ, pre_BQ).flatten())
        return code, None if aux is None else pre_BQ[aux]

    @torch.no_grad()
    def auxiliary(self, x_BP: Tensor, auxiliary: Auxiliary) -> tuple[Tensor, Tensor] | None:
        """Return the sample and the latent of each auxiliary latent, as two vectors; None if no latent is dead."""
        W_enc, b_enc, *_ = self.weights
        dead, k = auxiliary
        if not len(dead):
            return None
        dead_BD = torch.addmm(b_enc[dead], x_BP, W_enc[dead].T)
        size_BD = dead_BD.abs() if self.sigma.signed else dead_BD
        places_BK = size_BD.topk(min(k, len(dead)), sorted=False).indices
        places_BK = places_BK.sort(dim=1).values  # the entries of a row of a support are sorted by latent
        sample_BK = torch.arange(len(x_BP), device=dead.device)[:, None].expand_as(places_BK)
        return sample_BK.flatten(), dead[places_BK].flatten()

    def split(
        self,
        support: Support,
        pre_N: Tensor,
        search: Search | None,
        scales: Scales,
        aux: tuple[Tensor, Tensor] | None,
    ) -> tuple[Support, Tensor | None]:
        """Divide each sample's entries into rows: one for each scale, and one for auxiliary latents.

        Return the new support and, for each of its entries, the position among the old entries followed by the
        auxiliary ones; None if the entries keep their order, as for prefixes without auxiliary latents.
        """
        sample_N, latent_N = support.rows, support.columns
        group_N = torch.zeros_like(sample_N)
        if scales.multi_k and search is not None:
            edges = torch.tensor(scales.multi_k[:-1], device=pre_N.device)
            group_N = torch.bucketize(search.ranks(pre_N, support), edges, right=True)
        elif scales.prefixes:
            edges = torch.tensor(scales.prefixes[:-1], device=pre_N.device)
            group_Q = torch.bucketize(torch.arange(support.n_q, device=pre_N.device), edges, right=True)
            group_N = support.per_latent(group_Q)
        groups = scales.number
        if aux is None and not scales.multi_k:
            rows = torch.arange(support.n_samples * groups + 1, device=sample_N.device)
            offsets = torch.searchsorted(sample_N * groups + group_N, rows)
            return Support(offsets, latent_N, support.n_q, support.kernels, groups), None
        if aux is not None:
            sample_N = torch.cat([sample_N, aux[0]])
            latent_N = torch.cat([latent_N, aux[1].to(latent_N.dtype)])
            group_N = torch.cat([group_N, group_N.new_full((len(aux[0]),), groups)])
            groups += 1
        return assemble(sample_N, latent_N, group_N, (support.n_samples, groups, support.n_q), support.kernels)
