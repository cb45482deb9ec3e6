"""Named, independent streams of randomness from one seed.

Everything random takes a stream of its own, named for what it draws. Two streams of one seed are as independent as
streams of two seeds, so a model's initialisation cannot repeat the numbers that the ground truth was drawn from, which
is what happens when both come from generators with equal seeds.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a random generator for one purpose: the stream of ``seed`` named ``names``, the same one at every call.

    Parameters
    ----------
    seed
        Non-negative integer.
    names
        What is drawn, e.g. ``"samples", "train"``. Different names give independent streams.
    """
    words = np.frombuffer(hashlib.sha256(repr(names).encode()).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in words)))


def torch_stream(seed: int, *names: str | int) -> "torch.Generator":
    """Return a CPU torch generator seeded from `stream`."""
    import torch  # only here: the stages that draw matrices and samples do not pay for loading it

    return torch.Generator().manual_seed(int(stream(seed, *names).integers(2**63)))
