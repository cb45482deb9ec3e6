"""Posterior codes: search the most probable latents of a sample, given how often and how strongly each is active.

The model of a sample is a bias, a few active latents, and Gaussian noise. Latent i is active with a known probability,
and then has a normal code of known mean and variance (a spike-and-slab prior). Rare features without a latent count as
noise. `sdlcore.training.posterior` estimates these statistics from samples.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.activation import Encoder, Weights
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.kernels.calling import array, posteriors
from sdlcore.sparse.search import Above, Search

STAGES, QUIET = 12, 8
"""Odds are tabulated at this number of noise levels. The lowest level is the noise divided by `QUIET`, since samples
differ in how many features without a latent they contain. The highest is the mean square of the loudest sample."""
MOST = 256
"""Most active latents of a sample."""
AT_ONCE = 2**22
"""Products in memory at once."""


class Statistics(NamedTuple):
    """Statistics of latents with unit decoder rows."""

    log_odds: Tensor
    """Log odds of being active (n_q)."""
    means: Tensor
    """Mean codes in samples where the latent is active (n_q)."""
    variances: Tensor
    """Variances of these codes (n_q)."""
    noise: Tensor
    """Variance of the noise in each dimension (0-d)."""


class Posterior(Encoder):
    """An encoder that searches greedily for the most probable latents of each sample.

    Each round adds one latent or a few: inactive ones with the highest odds of being active, given the residual. The
    round then sets all active codes to their conditional means, and drops latents whose odds are 1 or less. The search
    ends when a round changes nothing (`sdlcore.sparse.kernels.cpu_posterior`). Codes are positive.

    The noise level of a round follows the mean square of the residual. So latents that are still missing count as
    noise, and the first rounds add clear latents only. No gradient passes. Rows of the decoder must have norm 1, as
    `sdlcore.training.posterior` leaves them; this is not checked.
    """

    def __init__(self, n_q: int) -> None:
        super().__init__()
        for name, size in (("log_odds", (n_q,)), ("means", (n_q,)), ("variances", (n_q,)), ("noise", ())):
            self.register_buffer(name, torch.ones(size, dtype=torch.float32))

    @property
    def statistics(self) -> Statistics:
        return Statistics(*(self.get_buffer(name) for name in Statistics._fields))

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        latents = torch.zeros(len(x), len(weights.W_dec), dtype=torch.float32)
        sample, latent, values = codes(x, weights, self.statistics)
        latents[sample, latent] = values
        return latents.to(x)

    def search(self) -> Search:
        return Above(torch.zeros(()))

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        sample, latent, values = (part.to(x.device) for part in codes(x, tools.weights, self.statistics))
        support, places = tools.entries(sample, latent, len(x))
        values = torch.empty_like(values).index_copy_(0, places, values).to(x.dtype)
        return SparseCode(support, values, values)


@torch.no_grad()
def codes(x_BR: Tensor, weights: Weights, statistics: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """Search the latents of B samples, in float32 on the CPU.

    Parameters
    ----------
    x_BR
        Samples, not yet centred (B x n_r). Samples that are not finite have no active latent.
    weights
        The dictionary's weights. Only the decoder's rows (norm 1) and bias are used.
    statistics
        Statistics of the n_q latents.

    Returns
    -------
    sample, latent, code
        An entry for each active latent, ordered by sample: the number of the sample, the number of the latent, and
        the code.

    Raises
    ------
    ValueError
        If the numbers of rows and of statistics differ.
    """
    if len(weights.W_dec) != len(statistics.means):
        raise ValueError(f"posterior: {len(weights.W_dec)} rows, but statistics of {len(statistics.means)} latents")
    W_dec, b_dec = weights.W_dec.detach().float().cpu(), weights.b_dec.detach().float().cpu()
    centred_BR = x_BR.float().cpu() - b_dec
    # samples that are not finite activate no latent
    centred_BR = torch.where(centred_BR.square().sum(1, keepdim=True).isfinite(), centred_BR, 0.0)
    energies_B, n_r = centred_BR.square().sum(1), x_BR.shape[1]
    tables = _tables(statistics, float(energies_B.max()) / n_r if len(x_BR) else 0.0)
    means, variances = array(statistics.means.cpu()), array(statistics.variances.cpu())
    gram = array(W_dec @ W_dec.T)
    most, rows = min(MOST, len(W_dec)), max(1, AT_ONCE // len(W_dec))
    found = []
    for start in range(0, len(x_BR), rows):
        part = slice(start, start + rows)
        products = array(centred_BR[part] @ W_dec.T)
        shape = len(products), most
        chosen, amounts = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        counts = np.zeros(len(products), np.int64)
        energies = array(energies_B[part])
        posteriors().posterior(products, energies, gram, *tables, means, variances, n_r, chosen, amounts, counts)
        there = np.arange(most) < counts[:, None]
        found.append((np.nonzero(there)[0] + start, chosen[there], amounts[there]))
    if not found:
        nothing = torch.zeros(0, dtype=torch.int64)
        return nothing, nothing, nothing.float()
    sample, latent, values = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    return sample, latent, values


def _tables(statistics: Statistics, loudest: float) -> tuple[np.ndarray, ...]:
    """Return the coefficients of the log odds at each noise level (levels x n_q), and the levels."""
    log_odds, m, s = (array(part.cpu()).astype(np.float64) for part in statistics[:3])
    noise = float(statistics.noise)
    levels = np.geomspace(noise / QUIET, max(loudest, 1.01 * noise), STAGES)
    v = levels[:, None]
    constant = log_odds - 0.5 * np.log((s + v) / v) - m**2 / (2 * (s + v))
    table = constant, m / (s + v), 0.5 / v - 0.5 / (s + v), levels
    return tuple(np.ascontiguousarray(part, dtype=np.float32) for part in table)
