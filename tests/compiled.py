"""Compile the kernels of trainings into numba's cache, before several tests at a time would each compile them."""

import warnings

import numpy as np

import sdlcore as sdl
from sdlcore.sparse.kernels import int8

SIZES = {"n_q": 64, "steps": 4, "batch_size": 64}
TRAININGS = [
    {"activation": "topk", "k": 4, "lambda_anchor": 0.1},
    {"activation": "topk", "k": 4, "precision": "bfloat16"},
    {"activation": "topk", "k": 1, "lambda_aux": 0.03, "k_aux": 8, "dead_after": 100},
    *([{"activation": "batchtopk", "k": 4, "precision": "int8"}] if int8.is_exact() else []),
    {"activation": "batchtopk", "k": 4, "prefixes": [16, 64]},
    {"activation": "batchtopk", "k": 4, "multi_k": [2, 4]},
    {"activation": "relu", "l1": 0.1, "bias": True},
    {"activation": "jumprelu", "l0": 0.01},
    {"activation": "gated", "l1": 0.1, "bias": True},
]


def main() -> None:
    """Train each method for a few steps."""
    warnings.simplefilter("ignore")  # trainings this short are warned of
    x = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    for settings in TRAININGS:
        anchors = np.eye(2, 16, dtype=np.float32) if "lambda_anchor" in settings else None
        sdl.fit(x, anchors=anchors, progress=False, device="cpu", **SIZES, **settings)


if __name__ == "__main__":
    main()
