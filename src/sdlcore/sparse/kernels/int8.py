"""Products of int8 matrices, which some processors compute wrongly.

Without instructions for int8 (AVX512-VNNI or AMX), oneDNN adds pairs of products in 16 bits. These overflow, and no
error is raised. torch asks oneDNN only where the processor has such instructions, but the variable ONEDNN_MAX_CPU_ISA,
a virtual machine or another version may hide them from oneDNN alone. So one product is tried before any is used.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

LARGEST = 127
"""The largest absolute value that quantised rows contain."""
_TRIED = [(1, 2, 1), (3, 3, 5), (16, 4, 16), (5, 63, 17), (16, 64, 32), (33, 65, 48), (64, 256, 80), (48, 770, 64)]
"""Rows, inner dimension and columns: multiples of 4 and of 64, which one instruction takes, and others."""

Multiply = Callable[[Tensor, Tensor, Tensor], None]
"""Takes samples (B x n), latents (n_q x n) and the product (B x n_q, int32), which it writes."""


def multiply(samples: Tensor, latents: Tensor, out: Tensor) -> None:
    """Write samples times latents, transposed, into ``out``."""
    torch._int_mm(samples, latents.T, out=out)


@cache
def is_exact() -> bool:
    """Return whether matrix products of int8 are correct in this process. The first call tests a few, in some ms."""
    return agrees_with_integers(multiply)


def agrees_with_integers(product: Multiply) -> bool:
    """Compare small products with exact integers, in several shapes.

    Entries first have the largest absolute value, so that sums in 16 bits overflow, and are then drawn at random.
    """
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in _TRIED:
        signs = torch.randint(2, (rows + columns, inner), generator=generator) * 2 - 1
        signs[0] = signs[-1] = 1  # one sum as large as it can be
        any_numbers = torch.randint(-LARGEST, LARGEST + 1, (rows + columns, inner), generator=generator)
        for numbers in (LARGEST * signs, any_numbers):
            samples, latents = numbers.to(torch.int8).split([rows, columns])
            found = torch.empty(rows, columns, dtype=torch.int32)
            product(samples, latents, found)
            # float64 has each of these integers
            if not torch.equal(found.double(), samples.double() @ latents.double().T):
                return False
    return True
