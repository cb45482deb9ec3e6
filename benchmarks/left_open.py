"""Count the latents that a low-precision product leaves open, per latent that TopK keeps: float16 beside bfloat16.

python -m benchmarks.left_open
"""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_case import samples
from sdlcore.sparse.kernels import triton_screening as screening

SIZES = ((768, 16_000, 64), (4096, 16_384, 8))
"""Inputs, latents and k; 131,072 latents with k = 64 have the same share."""
B = 32


def left_open(x: Tensor, W: Tensor, k: int, dtype: torch.dtype) -> float:
    """Return the mean number of latents whose upper bound is not excluded by the k-th lower bound, divided by k."""
    (x_low, lost_B), (W_low, lost_Q) = _rounded(x, dtype), _rounded(W, dtype)
    norm_B, norm_Q = x.norm(dim=1)[:, None], W.norm(dim=1)
    adding = screening._ADDING * (x.shape[1] + screening._OTHERS)
    off = screening._MORE * ((lost_B + adding * norm_B) * norm_Q + (norm_B + lost_B) * lost_Q[:, 0])
    product = x_low @ W_low.T
    least = (product - off).topk(k, dim=1).values[:, -1:]
    return float((product + off >= least).sum(1).double().mean()) / k


def _rounded(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return rows scaled by powers of two and rounded to a type, and the norms of their rounding errors."""
    unit = torch.exp2(x.abs().amax(1, keepdim=True).log2().floor())
    low = (x / unit).to(dtype).float() * unit
    return low, (x - low).norm(dim=1, keepdim=True)


def main() -> None:
    print("| inputs | latents | k | samples | float16 | bfloat16 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n_p, n_q, k in SIZES:
        generator = torch.Generator().manual_seed(0)
        W = functional.normalize(torch.randn(n_q, n_p, generator=generator))
        for name, x in (("normal", torch.randn(B, n_p, generator=generator)), ("sums of 32", samples(W, B, 0))):
            shares = (left_open(x, W, k, dtype) for dtype in (torch.float16, torch.bfloat16))
            print(f"| {n_p} | {n_q} | {k} | {name} | {' | '.join(f'{share:.1f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
