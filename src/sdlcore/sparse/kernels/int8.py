"""Products of int8 matrices, and a check of them, because some processors compute them wrongly.

Without int8 instructions (AVX512-VNNI or AMX), oneDNN adds pairs of products in 16 bits, which overflow without an
error. torch uses oneDNN only if the processor has such instructions, but the variable ONEDNN_MAX_CPU_ISA, a virtual
machine or another oneDNN version may hide them from oneDNN alone. So some products are tested before int8 is used.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

LARGEST = 127
"""The largest absolute value that quantised rows contain."""
_TRIED = [(1, 2, 1), (3, 3, 5), (16, 4, 16), (5, 63, 17), (16, 64, 32), (33, 65, 48), (64, 256, 80), (48, 770, 64)]
"""Rows, inner dimension and columns: multiples of 4 and of 64, which fill one instruction, and other numbers."""

Multiply = Callable[[Tensor, Tensor, Tensor], None]
"""Takes samples (B x n), latents (n_q x n) and an output (B x n_q, int32), and writes the product to the output."""


def multiply(samples: Tensor, latents: Tensor, out: Tensor) -> None:
    """Write samples times the transpose of latents to ``out``."""
    torch._int_mm(samples, latents.T, out=out)


@cache
def is_exact() -> bool:
    """Return whether int8 matrix products are correct in this process. The first call tests a few products, in
    milliseconds."""
    return agrees_with_integers(multiply)


def agrees_with_integers(product: Multiply) -> bool:
    """Compare small products with exact integers, in several shapes.

    The entries of the first test have the largest absolute value, so that 16-bit sums overflow; the entries of other
    tests are random.
    """
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in _TRIED:
        signs = torch.randint(2, (rows + columns, inner), generator=generator) * 2 - 1
        signs[0] = signs[-1] = 1  # makes one sum as large as possible
        any_numbers = torch.randint(-LARGEST, LARGEST + 1, (rows + columns, inner), generator=generator)
        for numbers in (LARGEST * signs, any_numbers):
            samples, latents = numbers.to(torch.int8).split([rows, columns])
            products = torch.empty(rows, columns, dtype=torch.int32)
            product(samples, latents, products)
            # float64 represents these integers exactly
            if not torch.equal(products.double(), samples.double() @ latents.double().T):
                return False
    return True
