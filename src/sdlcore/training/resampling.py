"""Count dead latents, and resample them (Bricken et al. 2023; section 5.3)."""

import torch
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.training.adam import Adam


class DeadLatents:
    """Counts the samples since each latent last fired."""

    def __init__(self, n_q: int, dead_after: int, device: torch.device) -> None:
        self.dead_after = dead_after
        self.silent = torch.zeros(n_q, dtype=torch.int64, device=device)

    def update(self, fired_Q: Tensor, samples: int) -> None:
        """Add a batch of ``samples``; latents that fired in it start again from zero."""
        self.silent = torch.where(fired_Q, 0, self.silent + samples)

    def mask(self) -> Tensor:
        """Return which latents (n_q, bool) have been silent for at least ``dead_after`` samples."""
        return self.silent >= self.dead_after


ENCODER_SHARE = 0.2
"""Norm of a resampled encoder row, as a share of the living rows' mean norm (Bricken et al. 2023, for ReLU). If the
activation selects the largest pre-activations, it would rarely select such a short row, so the share is 1."""


@torch.no_grad()
def resample(
    model: SparseCoder,
    optimizer: Adam,
    dead: DeadLatents,
    x_BP: Tensor,
    x_BR: Tensor,
    generator: torch.Generator,
    spare: int = 0,
) -> int:
    """Point dead latents at badly reconstructed samples; return how many latents were resampled.

    Each dead latent gets a different sample, drawn with probability proportional to its squared loss. The decoder row
    becomes the direction of x_r - b_D (minus a linear path), the encoder row the direction of x_p at a share of the
    living rows' mean norm, and the bias zero. The optimiser's state for these rows becomes zero, in every tensor of the
    parameter's shape. If there are more dead latents than samples, the rest wait for the next call.

    Parameters
    ----------
    model, optimizer, dead
        Modified in place.
    x_BP, x_BR
        Samples to choose from, in the model's (normalised) units.
    generator
        CPU random generator for the draw.
    spare
        Number of first latents that are never resampled, because anchors hold them.

    Raises
    ------
    FloatingPointError
        If the loss of a sample is not finite.
    """
    mask_Q = dead.mask()
    mask_Q[:spare] = False
    index = mask_Q.nonzero().squeeze(1)
    if not len(index):
        return 0
    training = model.training
    model.eval()
    out = model(x_BP)
    loss_B = (x_BR - out.x_hat).square().sum(-1)
    model.train(training)
    # every process draws by the losses of the first one: rounded differently, its own might lead to other samples
    weights_B = model.processes.first(loss_B).square().cpu().double()
    if not weights_B.isfinite().all():
        raise FloatingPointError("the loss of samples to resample from is not finite")
    # without replacement, because two latents at one sample would be clones; samples without loss need no latent
    number = min(len(index), int((weights_B > 0).sum()))
    if not number:
        return 0
    chosen = torch.multinomial(weights_B, number, generator=generator).to(x_BP.device)
    index = index[:number]
    living = int((~mask_Q).sum())
    norm, decoder_norm = x_BP.new_ones(2)
    if living:
        norm = model.W_enc[~mask_Q].norm(dim=1).sum() / living
        decoder_norm = model.W_dec[~mask_Q].norm(dim=1).sum() / living
    left_BR = x_BR if out.linear is None else x_BR - out.linear
    model.W_dec[index] = decoder_norm * torch.nn.functional.normalize(left_BR[chosen] - model.b_dec)
    share = 1.0 if model.config.selects else ENCODER_SHARE
    model.W_enc[index] = share * norm * torch.nn.functional.normalize(x_BP[chosen])
    model.b_enc[index] = 0.0
    rows = [model.W_enc, model.W_dec, model.b_enc]
    for name, parameter in model.sigma.named_parameters():
        parameter[index] = model.sigma.initial(name)
        rows.append(parameter)
    for parameter in rows:
        for moment in optimizer.state.get(parameter, {}).values():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                moment[index] = 0.0
    dead.silent[index] = 0
    return number
