"""Replace the encoder of a trained dictionary by posterior codes (`sdlcore.model.activations.posterior`)."""

import math

import torch
from torch import Tensor
from tqdm import tqdm

from sdlcore.config import ActivationName, ModelConfig, Searched
from sdlcore.data.arrays import Readable
from sdlcore.data.batches import read_pair
from sdlcore.model.activations.posterior import Statistics
from sdlcore.model.coder import SparseCoder
from sdlcore.user_warnings import warn_at_call

ROUNDS = 2
"""Times that statistics are estimated: from the codes of the trained encoder, then from posterior codes."""
FEWEST = 3
"""A latent with fewer active samples keeps its row, but counts as having been active once, with the typical code."""
ROWS = 4096
"""Samples that are encoded at once."""
JUDGED = 2**13
"""Samples that measure posterior codes, at most."""
WORSE = 0.05
"""Share of the variance that new codes may explain less than the old ones before `warn_of_worse_codes` warns."""


def on_unit_rows(model: SparseCoder, activation: ActivationName | Searched, k: int | None = None) -> SparseCoder:
    """Return an autoencoder whose encoder and decoder both have the decoder rows of ``model``, scaled to norm 1.

    The decoder bias is copied. Encoder biases are zero.
    """
    norms_Q = model.W_dec.detach().double().norm(dim=1)  # squares of float32 overflow beyond 1e19
    unit_QR = model.W_dec.detach() / torch.where(norms_Q > 0, norms_Q, 1.0)[:, None]
    rows_QR = torch.where(norms_Q[:, None] > 0, unit_QR, 0.0).float()
    config = ModelConfig(activation=activation, n_q=model.config.n_q, k=k)
    unit_model = SparseCoder.from_config(config, model.input_sites, model.target_sites).to(rows_QR.device).eval()
    unit_model.load_state_dict(unit_model.state_dict() | {"W_enc": rows_QR, "W_dec": rows_QR, "b_dec": model.b_dec})
    return unit_model


@torch.no_grad()
def with_posterior_codes(model: SparseCoder, samples: Readable, n_samples: int, progress: bool = False) -> SparseCoder:
    """Return a copy of a trained autoencoder whose encoder is a search for the most probable latents.

    The statistics of latents are estimated twice, first from the codes of the trained encoder, and then from codes that
    the search finds. The copy has the model's decoder rows, scaled to norm 1. Its bias makes the mean residual zero.
    Statistics are in units of `Posterior.scale`, a power of two near the spread of the first samples.

    The model reads raw activations, and its latents are never negative. The first ``n_samples`` samples are used.
    ValueError if no latent is active in `FEWEST` of them.
    """
    norms_Q = model.W_dec.double().norm(dim=1)
    search_model = on_unit_rows(model, "posterior")
    search_model.load_state_dict(search_model.state_dict() | {"sigma.scale": torch.tensor(_scale(model, samples))})
    was_training, n_samples = model.training, min(n_samples, samples.rows)
    model.eval()
    bar = tqdm(total=ROUNDS * n_samples, unit="sample", disable=not progress)
    for round_ in range(ROUNDS):
        coder, units_Q = (model, norms_Q) if round_ == 0 else (search_model, torch.ones_like(norms_Q))
        estimate = _estimate(coder, units_Q, search_model, samples, n_samples, bar)
        if estimate is None and round_ > 0:  # the new codes are zero, of which `warn_of_worse_codes` warns
            break
        if estimate is None:
            raise ValueError(
                f"posterior codes: no latent is active in {FEWEST} samples (of {n_samples}); give more samples, or "
                "train longer or with a lower lr"
            )
        statistics, b_dec = estimate
        estimated = {f"sigma.{name}": value for name, value in statistics._asdict().items()}
        search_model.load_state_dict(search_model.state_dict() | estimated | {"b_dec": b_dec})
    bar.close()
    model.train(was_training)
    return search_model


def _scale(model: SparseCoder, samples: Readable) -> float:
    """Return the power of two that is nearest to the root mean square of the first samples, less the bias."""
    x, _ = read_pair(samples, model.config.pair, 0, min(ROWS, samples.rows))
    square = float((torch.from_numpy(x).double() - model.b_dec.double().cpu()).square().mean())
    return 2.0 ** min(max(round(math.log2(square) / 2), -100), 100) if 0 < square < math.inf else 1.0


@torch.no_grad()
def fvu_and_l0(model: SparseCoder, x_BR: Tensor) -> dict[str, float]:
    """Return ``fvu`` and ``l0`` of an autoencoder in evaluation mode on samples (B x n_r), as history rows name them.

    The FVU is NaN if all samples are equal.
    """
    unit = x_BR.abs().max().double().clamp(min=torch.finfo(torch.float32).tiny)
    error, active = 0.0, 0.0
    for part in x_BR.split(ROWS):
        out = model(part.to(model.W_dec.device))
        error += float(((part - out.x_hat.cpu()).double() / unit).square().sum())
        active += float(out.active().sum())
    wide = x_BR.double() / unit
    variance = float((wide - wide.mean(0)).square().sum())
    return {"fvu": error / variance if variance else math.nan, "l0": active / len(x_BR)}


@torch.no_grad()
def warn_of_worse_codes(
    start: SparseCoder, new: SparseCoder, x_BR: Tensor, remedy: str, codes: str = "posterior codes"
) -> float:
    """Warn if the new codes' FVU on the first samples exceeds the old codes' FVU by more than `WORSE`.

    ``start`` and ``new`` are one dictionary with its old and its new codes. Return the L0 of the new codes.
    """
    judged = x_BR[:JUDGED]
    before, after = fvu_and_l0(start, judged)["fvu"], fvu_and_l0(new, judged)
    if after["fvu"] > before + WORSE:
        warn_at_call(
            f"fvu of the {codes} is {after['fvu']:.3g} on {len(judged)} samples, and {before:.3g} with the trained "
            f"dictionary: they do not suit it, so {remedy}"
        )
    return after["l0"]


def warn_of_missed_l0(l0: float, reached: float, tolerance: float) -> None:
    """Warn if codes activate another number of latents than requested, by a larger share than ``tolerance``."""
    if abs(reached / l0 - 1) > tolerance:
        warn_at_call(
            f"l0 is {l0:g}, but the codes activate {reached:.3g} latents on average: no threshold comes nearer on "
            "these samples, which repeat or are few; give more that differ, or another l0"
        )


def _estimate(
    coder: SparseCoder,
    units_Q: Tensor,
    search_model: SparseCoder,
    samples: Readable,
    n_samples: int,
    bar: tqdm,
) -> tuple[Statistics, Tensor] | None:
    """Return the statistics of codes for unit rows, in ``search_model``'s scale, and the bias that centres residuals.

    None if no latent is active in `FEWEST` samples.
    """
    scale = search_model.sigma.get_buffer("scale").double().cpu()
    n_q, n_r = coder.W_dec.shape
    counts, sums, squares = (torch.zeros(n_q, dtype=torch.float64) for _ in range(3))
    residuals, energy = torch.zeros(n_r, dtype=torch.float64), torch.zeros(n_r, dtype=torch.float64)
    device = coder.W_dec.device
    for start in range(0, n_samples, ROWS):
        x, _ = read_pair(samples, coder.config.pair, start, min(start + ROWS, n_samples))
        x_BR = torch.from_numpy(x).float().to(device)
        out = coder(x_BR)
        columns = out.support.columns.long().cpu()
        values = out.values.double().cpu() * units_Q.cpu()[columns] / scale
        fires = values > 0
        counts.index_add_(0, columns[fires], torch.ones_like(values[fires]))
        sums.index_add_(0, columns[fires], values[fires])
        squares.index_add_(0, columns[fires], values[fires].square())
        residual = (x_BR - out.x_hat).double().cpu() / scale
        residuals += residual.sum(0)
        energy += residual.square().sum(0)
        bar.update(len(x_BR))
    mean_residual = residuals / n_samples
    noise = (energy / n_samples - mean_residual.square()).mean()
    statistics = statistics_of(counts, sums, squares, noise, n_samples)
    if statistics is None:
        return None
    b_dec = search_model.b_dec.double().cpu() + mean_residual * scale
    return statistics, b_dec.float()


def statistics_of(counts: Tensor, sums: Tensor, squares: Tensor, noise: Tensor, n_samples: int) -> Statistics | None:
    """Return the statistics of latents, or None if no latent is active in `FEWEST` of ``n_samples`` samples.

    ``counts`` are the numbers of samples that activate each latent, ``sums`` and ``squares`` the sums of its codes and
    of their squares (n_q, float64). ``noise`` is the variance of the residuals in a dimension (0-d).
    """
    is_frequent = counts >= FEWEST
    if not bool(is_frequent.any()):
        return None
    n = counts.clamp(min=1)
    typical = (sums / n)[is_frequent].median()
    means = torch.where(is_frequent, sums / n, typical)
    variances = torch.where(is_frequent, squares / n - means.square(), (typical / 2).square())
    # a deviation of a fiftieth of the mean at least, since few samples underestimate it
    variances = torch.maximum(variances, (0.02 * means).square())
    p = torch.where(is_frequent, counts, 1.0).clamp(max=n_samples - 0.5) / n_samples
    least = torch.finfo(torch.float32).eps * float(means.square().mean())
    statistics = Statistics((p / (1 - p)).log(), means, variances, noise.clamp(min=least))
    return Statistics(*(part.float() for part in statistics))
