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
ROUNDS = 40
"""Halvings of the interval in which a threshold is searched."""


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


class ThresholdedPursuit(NamedTuple):
    """Orthogonal matching pursuit that ends when no latent has a product with the residual above a threshold.

    So the number of active latents varies with the sample, as with an encoder. Latents whose codes by least squares
    would be negative leave.
    """

    rows: Tensor
    b_dec: Tensor
    threshold: float
    most: int
    """Largest number of steps."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([self._encode(part) for part in x.split(2048)])

    def _encode(self, x: Tensor) -> Tensor:
        products = (x - self.b_dec) @ self.rows.T
        gram, B = self.rows @ self.rows.T, len(x)
        codes = torch.zeros_like(products)
        latents, active = torch.zeros(B, 0, dtype=torch.int64), torch.zeros(B, 0, dtype=torch.bool)
        open_ = torch.arange(B)  # samples whose search goes on
        for _ in range(self.most):
            residual = products[open_] - codes[open_] @ gram
            value, latent = residual.masked_fill(codes[open_] > 0, 0.0).max(1)
            goes_on = value > self.threshold
            open_, latent = open_[goes_on], latent[goes_on]
            if not len(open_):
                break
            latents = torch.cat([latents[goes_on], latent[:, None]], dim=1)
            active = torch.cat([active[goes_on], torch.ones(len(open_), 1, dtype=torch.bool)], dim=1)
            while True:
                systems = gram[latents[:, :, None], latents[:, None, :]] * (active[:, :, None] & active[:, None, :])
                systems.diagonal(dim1=1, dim2=2).copy_(torch.where(active, 1 + 1e-6, 1.0))
                right = torch.where(active, products[open_].gather(1, latents), 0.0)
                solved = torch.linalg.solve(systems, right[:, :, None]).squeeze(2)
                if not (solved < 0).any():
                    break
                active &= solved >= 0
            codes[open_] = torch.zeros(len(open_), codes.shape[1]).scatter_reduce(1, latents, solved, "amax")
        return codes


def pursuit_at(dictionary: sdl.Dictionary, x: Tensor, l0: float) -> Coded:
    """Return orthogonal matching pursuit with the threshold that gives the samples ``l0`` active latents on average."""
    rows, b_dec = unit(dictionary)
    low, high = 0.0, float(((x - b_dec) @ rows.T).max())
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        pursuit = ThresholdedPursuit(rows, b_dec, middle, 4 * int(l0) + 4)
        found = mean_l0(Coded(rows, b_dec, pursuit.encode), x)
        low, high = (middle, high) if found > l0 else (low, middle)
        if abs(found / l0 - 1) < 0.002:
            break
    return Coded(rows, b_dec, pursuit.encode)


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
