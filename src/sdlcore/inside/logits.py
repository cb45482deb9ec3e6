"""Which tokens a latent makes more or less likely, by its decoder row alone."""

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
    """Tokens and what a decoder row adds to their logits."""

    up: list[tuple[str, float]]
    """The largest, descending."""
    down: list[tuple[str, float]]
    """The smallest, ascending."""


@torch.no_grad()
def logits_of(directions_LD: Tensor, readout: Readout) -> Tensor:
    """Return the logits (L x vocabulary) of directions of the residual stream: unembedding · (norm(d) - norm(0)).

    The final norm brings a direction to the length that the unembedding sees and applies its gains; norm(0) takes
    out its bias. The mean over the vocabulary is subtracted, since softmax does not see it. The blocks between a
    latent and the unembedding have no part in it: this is the direct path only.
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

    Of several sites, the row of the last. Rows of the unembedding that no token has, its padding, are left out.
    """
    found: dict[int, Logits] = {}
    for at in range(0, len(latents), LATENTS_AT_ONCE):
        some = [int(latent) for latent in latents[at : at + LATENTS_AT_ONCE]]
        rows_LD = coder.W_dec[some, -coder.target_sites[-1] :]
        logits_LV = logits_of(rows_LD, readout)[:, : len(tokenizer)]
        up, down = (_named(logits_LV, number, largest, tokenizer) for largest in (True, False))
        found |= {latent: Logits(*its) for latent, *its in zip(some, up, down, strict=True)}
    return found


def _named(logits_LV: Tensor, number: int, largest: bool, tokenizer: Any) -> list[list[tuple[str, float]]]:
    """Return for each row the tokens with the largest or smallest logits, and those."""
    values_LK, tokens_LK = logits_LV.topk(min(number, logits_LV.shape[1]), largest=largest)
    return [
        [(token_text(token, tokenizer), value) for token, value in zip(tokens, values, strict=True)]
        for tokens, values in zip(tokens_LK.tolist(), values_LK.tolist(), strict=True)
    ]


@torch.no_grad()
def nearest(coder: SparseCoder, latents: Sequence[int], number: int = 5) -> dict[int, list[tuple[int, float]]]:
    """Return for each latent the others whose decoder rows have the largest cosines with its own, and those cosines."""
    rows_QR = torch.nn.functional.normalize(coder.W_dec.detach())
    found = {}
    for latent in latents:
        cosines_Q = rows_QR @ rows_QR[latent]
        cosines_Q[latent] = -2
        values, others = cosines_Q.topk(min(number, len(cosines_Q) - 1))
        found[int(latent)] = [(int(q), float(value)) for q, value in zip(others, values, strict=True)]
    return found
