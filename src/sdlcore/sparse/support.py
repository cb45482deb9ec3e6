"""The support of a batch's codes: the entries that may be nonzero."""

from functools import cached_property
from typing import NamedTuple

import scipy.sparse
import torch
from torch import Tensor

from sdlcore.sparse.kernels.interface import Kernels, SparseRows


class ByLatent(NamedTuple):
    """A pattern by columns, along which the gradients of both weight matrices are summed."""

    offsets: Tensor
    """n_q + 1; latent i has the entries ``offsets[i]`` to ``offsets[i + 1]``."""
    rows: Tensor
    """The row of each entry."""
    order: Tensor
    """Position of each entry in row order."""


class Entries(NamedTuple):
    """The pre-activations of a batch that a search found: their positions and values."""

    support: "Support"
    """The positions of the entries."""
    pre: Tensor
    """Values of these entries (N), with the precision of the type that computed them."""


class Support:
    """N entries (row, latent) of B samples, sorted by row, then by latent.

    Each sample has ``groups`` consecutive rows, for the parts of its code that are decoded separately (scales,
    auxiliary latents). ``kernels`` are used in all computations with it.
    """

    def __init__(self, offsets: Tensor, columns: Tensor, n_q: int, kernels: Kernels, groups: int = 1) -> None:
        self.offsets = offsets
        self.columns = columns
        self.n_q = n_q
        self.kernels = kernels
        self.groups = groups

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def n_rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_samples(self) -> int:
        return self.n_rows // self.groups

    @cached_property
    def rows(self) -> Tensor:
        """The row of each entry (N)."""
        return torch.repeat_interleave(torch.diff(self.offsets), output_size=len(self))

    @property
    def samples(self) -> Tensor:
        """The sample of each entry (N)."""
        return self.rows // self.groups

    @cached_property
    def by_latent(self) -> ByLatent:
        """The entries sorted by latent; sorted once, however many gradients need it."""
        return ByLatent(*self.kernels.transpose(self.offsets, self.columns, self.n_q))

    def per_latent(self, parameter_Q: Tensor) -> Tensor:
        """Return the parameter (n_q) of the latent of each entry (N), differentiably."""
        return parameter_Q.index_select(0, self.columns)

    def smallest_positive(self, values_N: Tensor) -> Tensor:
        """Return the smallest positive value of the batch (0-d), or infinity if there is none."""
        infinity = values_N.new_full((1,), torch.inf)
        return torch.cat([torch.where(values_N > 0, values_N, torch.inf), infinity]).min()

    def dense(self, values_N: Tensor) -> Tensor:
        """Return the values as B x n_q, with zeros elsewhere; groups of a sample are added."""
        out = values_N.new_zeros(self.n_samples, self.n_q)
        return out.index_put((self.samples, self.columns), values_N, accumulate=True)

    def csr(self, values_N: Tensor) -> scipy.sparse.csr_array:
        """Return the values that are not zero as B x n_q, without gradients; NaN counts as zero. For one group."""
        rows = SparseRows(self.offsets, self.columns, values_N.detach()).where(values_N.detach().abs() > 0)
        offsets, columns, values = (part.cpu() for part in rows)
        values = values if values.dtype == torch.float64 else values.float()  # numpy has no bfloat16
        # 32 bits for both, because scipy would widen the columns to match offsets of 64 bits
        parts = values.numpy(), columns.int().numpy(), offsets.int().numpy()
        return scipy.sparse.csr_array(parts, shape=(self.n_rows, self.n_q))

    def sum_by_sample(self, values_N: Tensor) -> Tensor:
        """Return the sum of each sample's values (B)."""
        return values_N.new_zeros(self.n_samples).index_add(0, self.samples, values_N)


def assemble(
    sample_N: Tensor, latent_N: Tensor, group_N: Tensor, shape: tuple[int, int, int], kernels: Kernels
) -> tuple[Support, Tensor]:
    """Build a support from unsorted entries; return it with the input position of each of its entries.

    Parameters
    ----------
    sample_N, latent_N, group_N
        The entries.
    shape
        B, groups and n_q.
    kernels
        The support's kernels.
    """
    B, groups, n_q = shape
    row_N = (sample_N * groups + group_N).int()
    in_one_row = torch.tensor([0, len(row_N)], device=row_N.device)
    offsets, _, order = kernels.transpose(in_one_row, row_N, B * groups)
    return Support(offsets, latent_N[order], n_q, kernels, groups), order


def sorted_support(sample_N: Tensor, latent_N: Tensor, like: Support) -> tuple[Support, Tensor]:
    """Build a support of one group from entries in any order; return it with the input position of each of its entries.

    Entries are sorted by sample, then by latent. ``like`` is a support of the same samples.
    """
    in_one_row = torch.tensor([0, len(latent_N)], device=latent_N.device)
    # by latent first: `assemble` sorts by sample, and leaves the entries of a sample in their order
    by_latent = like.kernels.transpose(in_one_row, latent_N, like.n_q)[2].long()
    sample_N, latent_N = sample_N[by_latent], latent_N[by_latent]
    shape = like.n_rows, 1, like.n_q
    support, order = assemble(sample_N, latent_N, torch.zeros_like(sample_N), shape, like.kernels)
    return support, by_latent[order]


def union(first: Support, second: Support) -> tuple[Support, Tensor]:
    """Return the union of two supports of the same samples, and a place for each of its entries.

    A place below ``len(first)`` is the entry's number in ``first``. Any other place is ``len(first)`` plus its number
    in ``second``. An entry of both supports gets its place in ``first``.
    """
    keys, others = (each.rows * each.n_q + each.columns for each in (first, second))
    new = torch.ones_like(others, dtype=torch.bool)
    if len(keys):
        new = keys[torch.searchsorted(keys, others).clamp(max=len(keys) - 1)] != others
    places = torch.cat([torch.arange(len(first), device=new.device), len(first) + new.nonzero().squeeze(1)])
    if len(places) == len(first):
        return first, places
    sample_N, latent_N = (
        torch.cat(both)[places] for both in ((first.rows, second.rows), (first.columns, second.columns))
    )
    support, order = sorted_support(sample_N, latent_N, first)
    return support, places[order]


def subset(support: Support, mask_N: Tensor) -> tuple[Support, Tensor]:
    """Return the support of the entries in ``mask_N``, and their positions in the old support."""
    places = mask_N.nonzero().squeeze(1)
    counted = torch.nn.functional.pad(mask_N.cumsum(0), (1, 0))
    offsets, columns = counted[support.offsets], support.columns[places]
    return Support(offsets, columns, support.n_q, support.kernels, support.groups), places


def select_entries(entries: Entries, mask_N: Tensor) -> Entries:
    """Return the entries selected by a mask (N)."""
    support, places = subset(entries.support, mask_N)
    return Entries(support, entries.pre[places])


def full_support(B: int, n_q: int, kernels: Kernels, device: torch.device) -> Support:
    """Return the full support: every entry of B samples."""
    offsets = n_q * torch.arange(B + 1, device=device)
    return Support(offsets, torch.arange(n_q, dtype=torch.int32, device=device).repeat(B), n_q, kernels)
