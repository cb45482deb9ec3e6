"""Find the tokens that a latent makes more or less likely, from its decoder row alone."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdlcore.inside.contexts import token_text
from sdlcore.inside.hooks import Readout
from sdlcore.model.coder import SparseCoder

TOKENS_AT_ONCE, LATENTS_AT_ONCE = 16384, 64


class Logits(NamedTuple):
    """Tokens, each with the amount that a decoder row adds to its logit."""

    up: list[tuple[str, float]]
    """Tokens with the largest logits, descending."""
    down: list[tuple[str, float]]
    """Tokens with the smallest logits, ascending."""


@torch.no_grad()
def logits_of(directions_LD: Tensor, readout: Readout) -> Tensor:
    """Return the logits (L x vocabulary) of directions of the residual stream: unembedding · (norm(d) - norm(0)).

    The final norm scales a direction to the length that the unembedding reads, and applies its gains. Subtracting
    norm(0) removes its bias. The mean over the vocabulary is subtracted, since softmax ignores it. This is the direct
    path only: blocks between a latent and the unembedding do not contribute.
    """
    norm = copy.deepcopy(readout.norm).float()
    directions_LD = directions_LD.detach().float().to(readout.unembedding.device)
    read_LD = norm(directions_LD) - norm(torch.zeros_like(directions_LD))
    logits_LV = torch.cat([read_LD @ rows.float().T for rows in readout.unembedding.split(TOKENS_AT_ONCE)], dim=-1)
    return logits_LV - logits_LV.mean(-1, keepdim=True)


def logits_up_and_down(
    coder: SparseCoder, latents: Sequence[int], readout: Readout, tokenizer: Any, number: int = 10
) -> dict[int, Logits]:
    """Return the tokens whose logits each latent's decoder row raises and lowers most.

    If a dictionary has several sites, the decoder row of the last counts. Padding rows of the unembedding, which belong
    to no token, are left out.
    """
    logits: dict[int, Logits] = {}
    for at in range(0, len(latents), LATENTS_AT_ONCE):
        some = [int(latent) for latent in latents[at : at + LATENTS_AT_ONCE]]
        rows_LD = coder.W_dec[some, -coder.target_sites[-1] :]
        logits_LV = logits_of(rows_LD, readout)[:, : len(tokenizer)]
        up, down = (_named(logits_LV, number, largest, tokenizer) for largest in (True, False))
        logits |= {latent: Logits(*its) for latent, *its in zip(some, up, down, strict=True)}
    return logits


def _named(logits_LV: Tensor, number: int, largest: bool, tokenizer: Any) -> list[list[tuple[str, float]]]:
    """Return, for each row, the tokens with the largest or smallest logits, and these logits."""
    values_LK, tokens_LK = logits_LV.topk(min(number, logits_LV.shape[1]), largest=largest)
    return [
        [(token_text(token, tokenizer), value) for token, value in zip(tokens, values, strict=True)]
        for tokens, values in zip(tokens_LK.tolist(), values_LK.tolist(), strict=True)
    ]


@torch.no_grad()
def nearest(coder: SparseCoder, latents: Sequence[int], number: int = 5) -> dict[int, list[tuple[int, float]]]:
    """Return, for each latent, the other latents whose decoder rows have the largest cosines with its own row."""
    rows_QR = torch.nn.functional.normalize(coder.W_dec.detach())
    neighbours = {}
    for latent in latents:
        cosines_Q = rows_QR @ rows_QR[latent]
        cosines_Q[latent] = -2
        values, others = cosines_Q.topk(min(number, len(cosines_Q) - 1))
        neighbours[int(latent)] = [(int(q), float(value)) for q, value in zip(others, values, strict=True)]
    return neighbours
