"""Fit a linear encoder with thresholds to codes by search: logistic regression on their supports, then magnitudes.

Logistic regression finds, for each latent, the hyperplane that separates the samples where the latent is active in the
code from the other samples. A threshold for each latent then makes the encoder activate it as often as the search does,
and a line through the codes turns the distance from the hyperplane into a magnitude. The result is one affine map with
JumpReLU.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import trange

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.forward import Forward
from sdlcore.solvers.encoder import dense_columns
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sdlcore.training.loop import Checkpointing

LR = 0.02
"""Adam's learning rate at the start, for whitened inputs. It falls linearly to zero."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's decay rates, and the number that keeps its division finite."""
RIDGE = 1e-3
"""Ridge of whitening, as a share of the mean variance of a dimension."""
LATENTS = 256
"""Latents whose scores on the held-out samples are in memory at once."""
ROUNDING = 1e-6
"""Scores are equal if they differ by less than this share of the largest."""
FEWEST = 8
"""Active held-out samples that determine a latent's line; with fewer, a factor alone is fitted."""
SAVED = 100
"""Steps between checkpoints."""

ReadStep = Callable[[int], Tensor]
"""Returns the samples of a step (B x R, float32)."""


class _State(NamedTuple):
    """Rows (n_q x n_p) and biases (n_q) on whitened samples, and Adam's moments of both."""

    W: Tensor
    b: Tensor
    mean_slope: Tensor
    mean_slope_b: Tensor
    mean_square: Tensor
    mean_square_b: Tensor


@torch.no_grad()
def linear_encoder(
    teacher: SparseCoder,
    draw: ReadStep,
    held_out: Tensor,
    steps: int,
    in_pass: int | None,
    l0: float | None,
    progress: bool = False,
    checkpoints: Checkpointing | None = None,
) -> SparseCoder:
    """Return a JumpReLU autoencoder with the decoder of ``teacher`` that imitates its codes.

    Parameters
    ----------
    teacher
        An autoencoder in evaluation mode whose codes are imitated.
    draw
        Samples of a step of Adam, counted from 0.
    held_out
        Samples that no step draws, for thresholds and magnitudes (H x R, float32).
    in_pass
        Number of steps after which samples come again, so that their codes are known; None if they do not.
    l0
        Mean number of active latents of a held-out sample; None for the teacher's. The frequencies of latents are in
        the ratios of the teacher's.
    checkpoints
        Where the state is kept every `SAVED` steps; a state there is continued.
    """
    device, n_q = teacher.W_dec.device, teacher.config.n_q
    held_out = held_out.to(device)
    mean, whiten = _whitening(held_out)
    targets = teacher(held_out)
    counts = _counts(targets)
    state, first_step = _start(teacher, whiten, targets, counts), 0
    saved = None if checkpoints is None else load_checkpoint(checkpoints.path)
    if saved is not None:
        first_step = saved.step
        for name, tensor in state._asdict().items():  # copies, since other alignments change the last bits of products
            tensor.copy_(saved.tensors[name])
    active_entries: dict[int, tuple[Tensor, Tensor]] = {}
    for step in trange(first_step, steps, initial=first_step, total=steps, unit="step", disable=not progress):
        x_BR = draw(step).to(device)
        place = step if in_pass is None else step % in_pass
        active = active_entries.get(place)
        if active is None:
            active = _active(teacher(x_BR))
            active_entries |= {} if in_pass is None else {place: active}
        _take_step(state, (x_BR - mean) @ whiten, active, step, steps)
        if checkpoints is not None and (step + 1) % SAVED == 0:
            checkpoint = Checkpoint(step + 1, 0.0, [], state._asdict())
            save_checkpoint(checkpoints.path, checkpoint, checkpoints.facts)
    W, b = state.W @ whiten, state.b - state.W @ (whiten @ mean)
    factor = 1.0 if l0 is None else l0 * len(held_out) / max(float(counts.sum()), 1.0)
    numbers = (factor * counts).round().clamp(max=len(held_out) - 1).long()
    numbers = torch.where(counts > 0, numbers.clamp(min=1), 0)
    thresholds = torch.empty(n_q, device=device)
    for start in range(0, n_q, LATENTS):
        part = slice(start, start + LATENTS)
        codes = dense_columns(targets.support, targets.values, start, len(b[part]))
        W[part], b[part], thresholds[part] = _magnitudes(held_out, W[part], b[part], codes, numbers[part])
    config = ModelConfig(activation="jumprelu", n_q=n_q)
    model = SparseCoder.from_config(config, teacher.input_sites, teacher.target_sites).to(device).eval()
    weights = {"W_enc": W, "b_enc": b, "W_dec": teacher.W_dec, "b_dec": teacher.b_dec, "sigma.threshold": thresholds}
    model.load_state_dict(model.state_dict() | weights)
    return model


def _whitening(x_BR: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (R), and the symmetric matrix that gives samples unit covariance (R x R)."""
    wide = x_BR.double()
    mean = wide.mean(0)
    covariance = (wide.T @ wide) / len(wide) - torch.outer(mean, mean)
    covariance.diagonal().add_(max(RIDGE * float(covariance.diagonal().mean()), 1e-68))  # more than zero
    values, vectors = torch.linalg.eigh(covariance)
    return mean.float(), (vectors * values.rsqrt() @ vectors.T).float()


def _counts(codes: Forward) -> Tensor:
    """Return the number of samples that activate each latent (n_q, float32)."""
    return torch.bincount(codes.support.columns.long()[codes.fires()], minlength=codes.support.n_q).float()


def _start(teacher: SparseCoder, whiten: Tensor, out: Forward, counts: Tensor) -> _State:
    """Return initial rows and biases: for each latent, the linear discriminant of inactive and active samples.

    Both are taken as normally distributed, with means that differ by the latent's decoder row times its mean code.
    """
    columns, n = out.support.columns.long(), len(out.x_hat)
    sums = torch.zeros_like(counts).index_add_(0, columns, out.values)
    W = (sums / counts.clamp(min=1))[:, None] * (teacher.W_dec @ whiten)
    p = counts.clamp(0.5, n - 0.5) / n
    b = (p / (1 - p)).log() - 0.5 * W.square().sum(1)
    return _State(W, b, *(torch.zeros_like(weights) for weights in (W, b, W, b)))


def _active(out: Forward) -> tuple[Tensor, Tensor]:
    """Return samples and latents of active entries."""
    fires = out.fires()
    return out.support.rows[fires].int(), out.support.columns[fires].int()


def _take_step(state: _State, z_BR: Tensor, active: tuple[Tensor, Tensor], step: int, steps: int) -> None:
    """Take a step of Adam on the mean over samples of the cross-entropy, summed over latents."""
    slope_BQ = torch.sigmoid(torch.addmm(state.b, z_BR, state.W.T))
    slope_BQ.index_put_((active[0].long(), active[1].long()), slope_BQ.new_tensor(-1.0), accumulate=True)
    slope_BQ /= len(z_BR)
    gradients = slope_BQ.T @ z_BR, slope_BQ.sum(0)
    rate = LR * (1 - step / steps)
    for weight, gradient, first, second in zip(state[:2], gradients, state[2:4], state[4:], strict=True):
        first.lerp_(gradient, 1 - BETAS[0])
        second.lerp_(gradient.square(), 1 - BETAS[1])
        root = (second / (1 - BETAS[1] ** (step + 1))).sqrt_().add_(EPSILON)
        weight.addcdiv_(first, root, value=-rate / (1 - BETAS[0] ** (step + 1)))


def _bounds(ordered_HK: Tensor, numbers_K: Tensor) -> Tensor:
    """Return bounds that the requested numbers of scores exceed; equal scores, of repeated samples, stay together.

    Scores that differ by rounding count as equal. If they cannot be divided, the bound keeps the nearer number of them.
    """
    last = ordered_HK.gather(0, numbers_K[None] - 1)
    rounding = ROUNDING * ordered_HK.abs().amax(0)
    above = (ordered_HK > last + rounding).sum(0)
    at_least = (ordered_HK >= last - rounding).sum(0)
    keeps = (at_least - numbers_K <= numbers_K - above) | (above == 0)
    chosen = torch.where(keeps, at_least, above)
    padded = torch.cat([ordered_HK, ordered_HK[-1:] - 1])
    return (padded.gather(0, chosen[None] - 1)[0] + padded.gather(0, chosen[None])[0]) / 2


def _magnitudes(
    x_HR: Tensor, W_KR: Tensor, b_K: Tensor, codes_HK: Tensor, numbers_K: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, biases and thresholds of K latents, so that each is active in the numbers of samples requested."""
    scores = torch.addmm(b_K, x_HR, W_KR.T)
    ordered = scores.sort(dim=0, descending=True).values
    bounds = torch.where(numbers_K > 0, _bounds(ordered, numbers_K.clamp(min=1)), ordered[0] + 1)
    above = (scores > bounds).to(scores)
    n = above.sum(0).clamp(min=1)
    mean_z, mean_c = (above * scores).sum(0) / n, (above * codes_HK).sum(0) / n
    spread = (above * (scores - mean_z).square()).sum(0)
    gain = (above * (scores - mean_z) * (codes_HK - mean_c)).sum(0) / spread.clamp(min=1e-12)
    # the line must be rising, and above zero at the bound, for a threshold that activates the same samples
    lowest = mean_c + gain * (bounds - mean_z)
    is_line = (above.sum(0) >= FEWEST) & (gain > 0) & (lowest > 0)
    flat = mean_c.clamp(min=0) / (mean_z - bounds + 1).clamp(min=1)
    gain = torch.where(is_line, gain, flat)
    lowest = torch.where(is_line, lowest, flat)
    return gain[:, None] * W_KR, gain * (b_K - bounds) + lowest, lowest
