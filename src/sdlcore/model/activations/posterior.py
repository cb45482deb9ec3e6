"""Posterior codes: search the most probable latents of a sample, given how often and how strongly each is active.

The model of a sample is a bias, a few active latents, and Gaussian noise. Latent i is active with a known probability,
and then has a normal code of known mean and variance (a spike-and-slab prior). Rare features without a latent count as
noise. `sdlcore.codes.posterior` estimates these statistics from samples.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.activation import Encoder, Weights
from sdlcore.model.activations.matching_pursuit import Gram
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.search import Above, Search

QUIET, RATIO = 8, 1.2
"""Odds are tabulated at noise levels. The lowest level is the noise divided by `QUIET`, since samples differ in how
many features without a latent they contain. Each level is `RATIO` times the one below it, up to the mean square of a
sample. So the levels of a sample depend on this sample and the statistics only."""
MOST = 256
"""Most active latents of a sample."""
LEVELS = 512
"""Most noise levels."""
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
    `sdlcore.codes.posterior` leaves them; this is not checked. The codes of a sample depend on this sample only, and
    not on the other samples of a call.

    Statistics count activations in multiples of the buffer ``scale`` (0-d), because squares of huge or tiny activations
    do not fit into float32.
    """

    scale: Tensor

    def __init__(self, n_q: int) -> None:
        super().__init__()
        sizes = {"log_odds": (n_q,), "means": (n_q,), "variances": (n_q,), "noise": (), "scale": ()}
        for name, size in sizes.items():
            self.register_buffer(name, torch.ones(size, dtype=torch.float32))
        self._gram = Gram()

    @property
    def statistics(self) -> Statistics:
        return Statistics(*(self.get_buffer(name) for name in Statistics._fields))

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        latents = torch.zeros(len(x), len(weights.W_dec), dtype=torch.float32)
        sample, latent, values = self.codes(x, weights)
        latents[sample, latent] = values
        return latents.to(x)

    def codes(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """Return the codes of samples as the function `codes` does."""
        return codes(x, weights, self.statistics, float(self.scale), self._gram)

    def search(self) -> Search:
        return Above(torch.zeros(()))

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        sample, latent, values = (part.to(x.device) for part in self.codes(x, tools.weights))
        return tools.code(sample, latent, values.to(x.dtype), len(x))


@torch.no_grad()
def codes(
    x_BR: Tensor, weights: Weights, statistics: Statistics, scale: float = 1.0, gram: Gram | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Search the latents of B samples on the CPU.

    The inner products of all latents take 4 n_q^2 bytes: 64 MiB for 4,096 latents, 1 GiB for 16,000. Products with
    samples take 12 `AT_ONCE` bytes, 48 MiB, and their codes 3 KiB a sample.

    Parameters
    ----------
    x_BR
        Samples, not yet centred (B x n_r). Samples that are not finite have no active latent.
    weights
        The dictionary's weights. Only the decoder's rows (norm 1) and bias are used.
    statistics
        Statistics of the n_q latents.
    scale
        The unit of the statistics, in the unit of the samples.
    gram
        Keeps the inner products of all latents for other calls; None to compute them.

    Returns
    -------
    sample, latent, code
        An entry for each active latent, ordered by sample: the number of the sample, the number of the latent, and
        the code in the unit of the samples.
    """
    W_dec, b_dec, n_r = weights.W_dec.detach().cpu(), weights.b_dec.detach().double().cpu(), x_BR.shape[1]
    wide_RQ = W_dec.double().T
    means, variances = array(statistics.means.cpu()), array(statistics.variances.cpu())
    gram_QQ = array((gram or Gram())(W_dec.float(), compiled=True))
    most = min(MOST, len(W_dec))
    entries = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    rows = max(1, AT_ONCE // len(W_dec))
    for start in range(0, len(x_BR), rows):
        centred_BR = (x_BR[start : start + rows].double().cpu() - b_dec) / scale
        # The last bits of a product depend on the number of samples in a call. Rounding from float64 to float32 removes
        # these bits, so that the search makes the same decisions for any number.
        energies_B = centred_BR.square().sum(1).float()
        silent_B = ~energies_B.isfinite()  # samples that are not finite activate no latent
        centred_BR[silent_B], energies_B[silent_B] = 0.0, 0.0
        products, energies = array((centred_BR @ wide_RQ).float()), array(energies_B)
        tables = _tables(statistics, float(energies.max()) / n_r)
        shape = len(products), most
        chosen, amounts = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        counts = np.zeros(len(products), np.int64)
        loops("cpu_posterior").posterior(
            products, energies, gram_QQ, *tables, means, variances, n_r, chosen, amounts, counts
        )
        is_chosen = np.arange(most) < counts[:, None]
        entries.append((np.nonzero(is_chosen)[0] + start, chosen[is_chosen], amounts[is_chosen]))
    sample, latent, values = (torch.from_numpy(np.concatenate(part)) for part in zip(*entries, strict=True))
    return sample, latent, (values.double() * scale).float()


def _tables(statistics: Statistics, loudest: float) -> tuple[np.ndarray, ...]:
    """Return the coefficients of the log odds at each noise level (levels x n_q), and the levels up to ``loudest``."""
    log_odds, m, s = (array(part.cpu()).astype(np.float64) for part in statistics[:3])
    lowest = float(statistics.noise) / QUIET
    number = 1 + math.ceil(math.log(max(loudest / lowest, 1.0), RATIO))
    levels = lowest * RATIO ** np.arange(min(number, LEVELS))
    v = levels[:, None]
    constant = log_odds - 0.5 * np.log((s + v) / v) - m**2 / (2 * (s + v))
    table = constant, m / (s + v), 0.5 / v - 0.5 / (s + v), levels
    return tuple(np.ascontiguousarray(part, dtype=np.float32) for part in table)


ACTIVATION = Posterior
