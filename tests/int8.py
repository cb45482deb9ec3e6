"""Marks for tests that need int8 products, and an emulation of processors that compute them wrongly."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from sdlcore.sparse.kernels import int8

needs_int8 = pytest.mark.skipif(not int8.is_exact(), reason="products of int8 are wrong on this processor, and refused")


def with_int8(names: Iterable[Any]) -> list[Any]:
    """Return test parameters; those named int8 are skipped if the processor computes int8 wrongly."""
    return [pytest.param(name, marks=needs_int8) if "int8" in str(name) else name for name in names]


def in_16_bits(samples: Tensor, latents: Tensor, out: Tensor) -> None:
    """Compute like oneDNN without int8 instructions (`sdlcore.sparse.kernels.int8.Multiply`).

    Samples are shifted by 128 to be unsigned. Products are added in pairs, and each sum is saturated to 16 bits
    (vpmaddubsw).
    """
    shifted, wide = samples.int() + 128, latents.int()
    if shifted.shape[1] % 2:
        shifted, wide = (torch.nn.functional.pad(factor, (0, 1)) for factor in (shifted, wide))
    pairs = shifted[:, None, 0::2] * wide[None, :, 0::2] + shifted[:, None, 1::2] * wide[None, :, 1::2]
    out.copy_(pairs.clamp(-(2**15), 2**15 - 1).sum(2) - 128 * wide.sum(1))
