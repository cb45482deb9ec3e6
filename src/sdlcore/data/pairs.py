"""Pairs of input and target: x_p and x_r of an autoencoder, a transcoder or a crosscoder (section 2.4).

A source provides one or two representations of the same samples: its input, and optionally its target.
"""

import numpy as np


def pair_sites(pair: str, n_p: int, n_r: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of the sites in x_p and in x_r, for a source with dimensions n_p and n_r."""
    if pair == "sae":
        return (n_p,), (n_p,)
    if n_r is None:
        raise ValueError(f"pair {pair} needs a source with a target; this one has none")
    return ((n_p,), (n_r,)) if pair == "transcoder" else ((n_p, n_r), (n_p, n_r))


def make_pair(pair: str, input: np.ndarray, target: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return x_p and x_r of B samples from B x n_p inputs and B x n_r targets; each is B x (sum of its sites)."""
    if pair == "sae":
        return input, input
    if target is None:
        raise ValueError(f"pair {pair} needs a source with a target; this one has none")
    if pair == "transcoder":
        return input, target
    both = np.concatenate([input, target], axis=1)
    return both, both


def make_direction_pair(pair: str, w_p: np.ndarray, w_r: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit directions in x_p and x_r of k features with unit directions w_p (k x n_p) and w_r (k x n_r).

    For a crosscoder, w_p and w_r are concatenated and renormalised.
    """
    p, r = make_pair(pair, w_p, w_r)
    return p / np.linalg.norm(p, axis=1, keepdims=True), r / np.linalg.norm(r, axis=1, keepdims=True)
