"""Which tokens a latent makes more or less likely, by its decoder row alone."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdlcore.inside.contexts import token_text
from sdlcore.inside.places import Readout
from sdlcore.model.sparse_coder import SparseCoder

TOKENS_AT_ONCE = 16384


class Logits(NamedTuple):
    """Tokens and what a decoder row adds to their logits."""

    up: list[tuple[str, float]]
    """The largest, descending."""
    down: list[tuple[str, float]]
    """The smallest, ascending."""


@torch.no_grad()
def logits_of(direction_D: Tensor, readout: Readout) -> Tensor:
    """Return the logits (vocabulary) of a direction of the residual stream: unembedding · (norm(d) - norm(0)).

    The final norm brings the direction to the length that the unembedding sees and applies its gains; norm(0) takes
    out its bias. The mean over the vocabulary is subtracted, since softmax does not see it. The blocks between the
    latent and the unembedding have no part in it: this is the direct path only.
    """
    norm = copy.deepcopy(readout.norm).float()
    direction_D = direction_D.detach().float().to(readout.unembedding.device)
    read_D = norm(direction_D) - norm(torch.zeros_like(direction_D))
    parts = [rows.float() @ read_D for rows in readout.unembedding.split(TOKENS_AT_ONCE)]
    logits_V = torch.cat(parts)
    return logits_V - logits_V.mean()


def logits_up_and_down(coder: SparseCoder, latent: int, readout: Readout, tokenizer: Any, number: int = 10) -> Logits:
    """Return the tokens whose logits a latent's decoder row raises and lowers most; of several sites, the last one's.

    Rows of the unembedding that no token has (padding of the vocabulary) are left out.
    """
    logits_V = logits_of(coder.W_dec[latent, -coder.target_sites[-1] :], readout)[: len(tokenizer)]
    named = []
    for largest in (True, False):
        values, tokens = logits_V.topk(min(number, len(logits_V)), largest=largest)
        named.append([(token_text(int(t), tokenizer), float(v)) for t, v in zip(tokens, values, strict=True)])
    return Logits(*named)


@torch.no_grad()
def nearest(coder: SparseCoder, latent: int, number: int = 5) -> list[tuple[int, float]]:
    """Return the other latents whose decoder rows have the largest cosines with a latent's, and those cosines."""
    rows_QR = torch.nn.functional.normalize(coder.W_dec.detach())
    cosines_Q = rows_QR @ rows_QR[latent]
    cosines_Q[latent] = -2
    values, latents = cosines_Q.topk(min(number, len(cosines_Q) - 1))
    return [(int(q), float(value)) for q, value in zip(latents, values, strict=True)]
