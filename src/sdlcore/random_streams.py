"""Named, independent streams of randomness from one seed.

Each random quantity is drawn from its own stream, named after it. Two streams of one seed are as independent as streams
of two seeds. With two generators of equal seed instead, a model's initialisation would repeat the numbers that the
ground truth was drawn from.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator of ``seed`` for the quantity ``names``, such as ``"samples", "train"``.

    Equal arguments give equal numbers, and different names independent streams.
    """
    words = np.frombuffer(hashlib.sha256(repr(names).encode()).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in words)))


def torch_stream(seed: int, *names: str | int) -> "torch.Generator":
    """Return a torch generator on the CPU, seeded from `stream`."""
    import torch  # imported here, so that stages that only draw matrices and samples do not load torch

    return torch.Generator().manual_seed(int(stream(seed, *names).integers(2**63)))
