"""Fit an encoder to a dictionary that was found without one.

No single layer computes the codes of a sample exactly. The best linear read-out of code i is the ridge (Wiener) row
Sigma^-1 cov(x, c_i), not the atom itself: if atoms are not orthogonal, the correlation with an atom mixes in the others
(docs/solvers.md). A threshold then decides when a code is active. Above the threshold, a regression of the code on the
read-out undoes the shrinkage caused by silent samples. The result is one affine map and JumpReLU, which any
`SparseCoder` computes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.solvers.codes import Codes
from sdlcore.sparse.support import Support

AT_ONCE = 256
"""Atoms whose read-outs are sorted in one call."""


class JumpReLUEncoder(NamedTuple):
    """JumpReLU(W x + b, threshold)."""

    W: Tensor
    """K x n_p."""
    b: Tensor
    """K."""
    threshold: Tensor
    """K, not negative."""


class EncoderFit:
    """Regression of codes on inputs, accumulated over batches.

    Thresholds and gains are fitted to the last batch. ``ridge`` is a share of the mean variance of an input dimension.
    """

    def __init__(self, K: int, n_p: int, ridge: float = 1e-3) -> None:
        self._samples, self._ridge = 0, ridge
        self._centre: Tensor | None = None  # the mean of the first batch
        self._x, self._c = (torch.zeros(n, dtype=torch.float32) for n in (n_p, K))
        self._xx, self._cx = (torch.zeros(n, n_p, dtype=torch.float32) for n in (n_p, K))
        self._last: tuple[Tensor, Codes] | None = None

    def add(self, x_BP: Tensor, codes: Codes) -> None:
        """Add B samples of x_p and the codes of their x_r."""
        self._samples += len(x_BP)
        self._last = x_BP, codes
        if self._centre is None:
            self._centre = x_BP.mean(0)
        # if means are large beside deviations, uncentred float32 sums lose the covariance
        x_BP = x_BP - self._centre
        self._x += x_BP.sum(0)
        self._xx += x_BP.T @ x_BP
        self._c.index_add_(0, codes.support.columns, codes.values)
        support = codes.support
        self._cx += support.kernels.scatter_sum(*support.by_latent, codes.values, x_BP)[0]

    def solve(self) -> JumpReLUEncoder:
        """Return the encoder."""
        assert self._last is not None
        assert self._centre is not None
        n = self._samples
        mean_x, mean_c = self._x / n, self._c / n
        covariance = (self._xx / n - torch.outer(mean_x, mean_x)).double()
        # equal inputs have no covariance: the ridge is at least float32's rounding error, or 1 if all inputs are zero
        rounding = torch.finfo(torch.float32).eps ** 2 * float(self._centre.double().square().mean())
        ridge = max(self._ridge * float(covariance.diagonal().mean()), rounding) or 1.0
        covariance.diagonal().add_(ridge)
        common = (self._cx / n - torch.outer(mean_c, mean_x)).double()
        W = torch.linalg.solve(covariance, common.T).T.float().contiguous()
        # subtract the centre first: a large common mean would cost most of float32's digits
        b = (mean_c.double() - W.double() @ mean_x.double()).float()
        x, codes = self._last
        x = x - self._centre
        threshold = torch.empty_like(b)
        for start in range(0, len(b), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            dense = dense_columns(codes.support, codes.values, start, len(b[part]))
            gain, offset, threshold[part] = _gate(x @ W[part].T + b[part], dense)
            W[part] *= gain[:, None]
            b[part] = gain * b[part] + offset
        # W x + b = W (x - centre) + (b + W centre)
        return JumpReLUEncoder(W, (b.double() - W.double() @ self._centre.double()).float(), threshold)


def dense_columns(support: Support, values: Tensor, start: int, width: int) -> Tensor:
    """Return the dense codes of ``width`` latents from ``start`` on (B x width)."""
    latents = support.columns.long() - start
    inside = (latents >= 0) & (latents < width)
    codes = values.new_zeros(support.n_samples, width)
    codes[support.rows.long()[inside], latents[inside]] = values[inside]
    return codes


def _gate(z_BK: Tensor, c_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return gain, offset and threshold that bring JumpReLU(gain z + offset) nearest to c, for each atom.

    First a threshold is set, then gain and offset by least squares over the samples above it, then the threshold again
    for the adjusted read-out.
    """
    above = z_BK > best_thresholds(z_BK, c_BK)
    number = above.sum(0).clamp(min=1)
    mean_z, mean_c = (z_BK * above).sum(0) / number, (c_BK * above).sum(0) / number
    spread = ((z_BK - mean_z).square() * above).sum(0)
    least = 1e-12 * (z_BK.square() * above).sum(0)  # keeps the division finite if all read-outs are equal
    gain = ((z_BK - mean_z) * (c_BK - mean_c) * above).sum(0) / torch.maximum(spread, least)
    # too few samples, or a read-out that is unrelated to the code, do not determine a line
    is_determined = (above.sum(0) >= 8) & (gain > 0.1) & (gain < 10)
    gain = torch.where(is_determined, gain, 1.0)
    offset = torch.where(is_determined, mean_c - gain * mean_z, 0.0)
    return gain, offset, best_thresholds(gain * z_BK + offset, c_BK).clamp(min=0)


def best_thresholds(z_BK: Tensor, c_BK: Tensor) -> Tensor:
    """Return the threshold per atom that makes JumpReLU(z) nearest to c in squared error (K).

    If z of a sample passes the threshold, the error changes by z (z - 2 c). The threshold is lowered past samples, in
    descending order of z, to the smallest sum of these changes. If this sum is never below zero, the threshold is above
    all samples. Two distant thresholds may be equally good up to rounding; rounding then decides between them.
    """
    ordered, places = z_BK.sort(dim=0, descending=True)
    change = torch.where(ordered > 0, ordered * (ordered - 2 * c_BK.gather(0, places)), torch.inf)
    total = change.cumsum(0)
    last = total.argmin(0)
    # zero bounds the lowest sample from below
    below = torch.cat([ordered[1:], torch.zeros_like(ordered[:1])])
    following = below.gather(0, last[None])[0]
    lowest = ordered.gather(0, last[None])[0]
    between = (lowest + torch.minimum(following.clamp(min=0), lowest)) / 2
    useless = ~(total.gather(0, last[None])[0] < 0)
    return torch.where(useless, ordered[0].clamp(min=0) + 1, between)
