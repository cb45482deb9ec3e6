"""Codes for the rows of a dictionary at a chosen L0: by encoders, by searches, and with true supports.

Every kind of codes is tuned on the same samples, so that its mean number of active latents is the requested one.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import sdlcore as sdl

Encode = Callable[[Tensor], Tensor]
"""Returns the codes (N x n_q, dense) of samples (N x n_p)."""


class Coded(NamedTuple):
    """Decoder rows with a way to find codes."""

    W_dec: Tensor
    b_dec: Tensor
    encode: Encode

    @classmethod
    def from_dictionary(cls, dictionary: sdl.Dictionary) -> "Coded":
        return cls(dictionary.W_dec, dictionary.b_dec, dictionary.encode)

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.W_dec + self.b_dec


def unit(dictionary: sdl.Dictionary) -> tuple[Tensor, Tensor]:
    """Return the decoder rows, scaled to norm 1, and the decoder bias."""
    return torch.nn.functional.normalize(dictionary.W_dec), dictionary.b_dec


@torch.no_grad()
def mean_l0(coded: Coded, x: Tensor) -> float:
    return float(torch.cat([(coded.encode(part) > 0).sum(1) for part in x.split(2048)]).float().mean())


@torch.no_grad()
def batchtopk_at(dictionary: sdl.Dictionary, x: Tensor, l0: float) -> sdl.Dictionary:
    """Set the threshold of a BatchTopK dictionary so that the samples activate ``l0`` latents on average."""
    threshold = dictionary.coder.sigma.get_buffer("threshold")
    threshold.zero_()
    codes = torch.cat([dictionary.encode(part) for part in x.split(2048)])
    n = round(l0 * len(x))
    threshold.fill_(float(codes[codes > 0].kthvalue(max(1, int((codes > 0).sum()) - n)).values))
    return dictionary


def least_squares_on(rows: Tensor, x: Tensor, active: Tensor) -> Tensor:
    """Return the codes of centred samples by least squares on known supports (N x n_q, boolean)."""
    codes = torch.zeros(len(x), len(rows))
    for i, mask in enumerate(active):
        latents = mask.nonzero().squeeze(1)
        if len(latents):
            codes[i, latents] = torch.linalg.lstsq(rows[latents].T, x[i][:, None]).solution.squeeze(1)
    return codes


def microseconds(encode: Encode, x: Tensor) -> float:
    """Return the processor time for each sample."""
    encode(x[:64])
    start = time.process_time()
    encode(x)
    return 1e6 * (time.process_time() - start) / len(x)
