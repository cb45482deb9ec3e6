"""Searches: the rules that select an activation's pre-activations on the fast path.

`Activation.search` returns a search. Each search defines its entries in plain torch (`mask`) and finds them without
keeping the matrix (`find`). Processes that share a batch find the same entries as a single process.
"""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from sdlcore.processes import ALONE, Processes
from sdlcore.sparse.kernels.interface import SparseRows
from sdlcore.sparse.preactivations import Entries, Preactivations
from sdlcore.sparse.support import Support, select_entries, sorted_support


class Search:
    """The pre-activations that may make a latent positive or pass a gradient on."""

    processes: Processes = ALONE
    """The processes that share a batch. `LargestPerBatch` selects among the samples of all of them."""

    def among(self, processes: Processes) -> Self:
        """Set the processes that share a batch, and return the search."""
        self.processes = processes
        return self

    def mask(self, pre: Tensor) -> Tensor:
        """Return the selected pre-activations as a boolean mask (B x n_q)."""
        raise NotImplementedError

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        """Return the entries.

        Parameters
        ----------
        pre_BQ
            The pre-activations of a batch.
        slack
            Factor on the number of entries, if the search has a fixed number. It is above 1 if the pre-activations were
            computed in a type with few digits; `narrow` then chooses by exact pre-activations.
        """
        raise NotImplementedError

    def narrow(self, entries: Entries) -> Entries:
        """Return the selected entries among entries that were found with slack."""
        return entries

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return the rank of each entry (N), from 0: a search for the k largest finds the entries of rank below k."""
        raise TypeError(f"{type(self).__name__} cannot rank entries, since the search finds no fixed number of entries")


class Above(Search):
    """All pre-activations above a bound.

    Parameters
    ----------
    bounds
        One bound for all latents (a number or a 0-d tensor), or one for each (n_q).
    """

    def __init__(self, bounds: Tensor | float) -> None:
        self.bounds = bounds

    def mask(self, pre: Tensor) -> Tensor:
        return pre > self.bounds

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        bounds = torch.as_tensor(self.bounds, dtype=pre_BQ.product.b.dtype, device=pre_BQ.product.b.device)
        return pre_BQ.above(bounds.expand(pre_BQ.shape[1]) if bounds.ndim == 0 else bounds)


class LargestPerSample(Search):
    """The k largest positive pre-activations of each sample; among equal pre-activations, the first latents win.

    Parameters
    ----------
    k
        Number of entries of a sample.
    signed
        Find the k pre-activations that are largest in absolute value instead, whatever their sign.
    above
        A number of at least zero for each sample (B): pre-activations up to it may be left out, which saves time.
    """

    def __init__(self, k: int, signed: bool = False, above: Tensor | None = None) -> None:
        self.k = k
        self.signed = signed
        self.above = above

    def mask(self, pre: Tensor) -> Tensor:
        size = pre.abs() if self.signed else pre
        return largest(size, self.k) & (size > 0)

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        k = min(round(slack * self.k), pre_BQ.shape[1])
        if not self.signed:
            return pre_BQ.largest(k, self.above if slack == 1 else None)
        return self._first(merged(*pre_BQ.of_both_signs(k)), k)

    def _first(self, entries: Entries, k: int) -> Entries:
        """Return the k entries of each sample that are largest in absolute value."""
        return select_entries(entries, entries.support.kernels.ranks(entries.support.offsets, entries.pre.abs()) < k)

    def narrow(self, entries: Entries) -> Entries:
        if self.signed:
            return self._first(entries, self.k)
        support, pre_N = entries
        offsets, columns, values = support.kernels.narrow(SparseRows(support.offsets, support.columns, pre_N), self.k)
        return Entries(Support(offsets, columns, support.n_q, support.kernels), values)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        return support.kernels.ranks(support.offsets, pre_N.abs() if self.signed else pre_N)


class LargestPerBatch(Search):
    """The k B largest positive pre-activations of a batch of B samples; of equal pre-activations, the first.

    The search does not sort the batch. The search guesses a bound that slightly too many entries exceed, and sorts the
    entries above it. The guess comes from the batch before, or from some samples. A wrong guess costs time and changes
    no result. The object keeps the last bound, so an activation keeps the object.

    Parameters
    ----------
    k
        Number of entries per sample, on average over the batch.
    """

    _SAMPLES = 64
    """Number of samples that the first bound is guessed from."""
    _MARGIN = 0.9
    """The next bound, as a share of the smallest pre-activation that was found."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.edge: Tensor | None = None
        """The smallest pre-activation that was found in the batch before."""

    def mask(self, pre: Tensor) -> Tensor:
        return largest(pre.flatten(), self.k * len(pre)).view_as(pre) & (pre > 0)

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        B, n_q = pre_BQ.shape
        size = self.processes.size
        n_entries = min(round(slack * self.k * B * size), B * n_q * size)
        for bound in self._bounds(pre_BQ, n_entries):
            entries = pre_BQ.above(bound.expand(n_q))
            number = sum(self.processes.counts(len(entries.pre)))
            if number >= n_entries:
                break
        self.edge = None
        if number < n_entries:
            return entries
        self.edge, mask_N = self._largest(entries.pre, n_entries)
        return select_entries(entries, mask_N)

    def narrow(self, entries: Entries) -> Entries:
        batch = entries.support.n_samples * self.processes.size
        n_entries = min(self.k * batch, sum(self.processes.counts(len(entries.pre))))
        return select_entries(entries, self._largest(entries.pre, n_entries)[1]) if n_entries else entries

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        every = self.processes.gather(pre_N)
        order = torch.argsort(every.flatten(), descending=True, stable=True)
        places = torch.arange(len(order), device=order.device) // (support.n_samples * self.processes.size)
        ranks = torch.empty_like(order).scatter_(0, order, places)
        return ranks.view(every.shape)[self.processes.rank, : len(pre_N)]

    def _bounds(self, pre_BQ: Preactivations, n_entries: int) -> Iterator[Tensor]:
        """Yield bounds that should let the ``n_entries`` largest pass, ever lower, down to zero."""
        B = pre_BQ.shape[0]
        if self.edge is not None:
            yield self._MARGIN * self.edge
        sample = pre_BQ.sample_rows(max(1, B // self._SAMPLES))
        place = min(sample.numel(), int(1.5 * n_entries / self.processes.size * len(sample) / B) + 4)
        guess = self.processes.minimum(sample.flatten().topk(place).values[-1])
        if guess > 0:
            yield guess
        yield pre_BQ.product.b.new_zeros(())

    def _largest(self, values_N: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return the smallest of the ``number`` largest values of all processes, and a mask of this process's among
        them; of equal values, the first, in the order of processes."""
        rank, few_N = self.processes.rank, values_N
        if self.processes.size > 1 and len(values_N) > number:
            few_N = values_N.topk(number, sorted=False).values
        every = self.processes.gather(few_N)
        edge = every.flatten().kthvalue(every.numel() - number + 1).values
        mask = values_N > edge
        at_edge = (values_N == edge).nonzero().squeeze(1)
        room = number - int((every > edge).sum()) - int((every[:rank] == edge).sum())
        mask[at_edge[: max(0, room)]] = True
        return edge, mask


def merged(above: Entries, below: Entries) -> Entries:
    """Return the positive pre-activations of ``above`` and the negative ones that ``below`` found with opposite sign.

    A GPU's search may return entries that are not positive; these are left out, so that no entry comes twice.
    """
    above, below = (select_entries(entries, entries.pre > 0) for entries in (above, below))
    pre_N = torch.cat([above.pre, -below.pre])
    latent_N = torch.cat([above.support.columns, below.support.columns])
    sample_N = torch.cat([above.support.rows, below.support.rows])
    whole, order = sorted_support(sample_N, latent_N, above.support)
    return Entries(whole, pre_N[order])


def largest(z: Tensor, k: int) -> Tensor:
    """Return a mask of the k largest numbers along the last dimension; of equal numbers, the first."""
    number = min(k, z.shape[-1])
    least = z.topk(number, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    if int((z < least).count_nonzero()) == z.numel() - number * least.numel():
        return z >= least  # no other number equals the smallest of the k
    above, equal = z > least, z == least
    return above | (equal & (equal.cumsum(-1) <= k - above.sum(-1, keepdim=True)))
