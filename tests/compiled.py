"""Compile the kernels of trainings into numba's cache, so that parallel tests do not compile each of them again."""

import warnings

import numpy as np
import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse import products
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
    {"activation": "abstopk", "k": 4},
    {"activation": "lista", "k": 4},
    {"activation": "matching_pursuit", "k": 4, "tied": True, "decoder_norm": "unit"},
]


def main() -> None:
    """Train each method for a few steps, run a solver, and make one pass in the precision of gradient tests."""
    warnings.simplefilter("ignore")  # trainings this short cause warnings
    x = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    for settings in TRAININGS:
        anchors = np.eye(2, 16, dtype=np.float32) if "lambda_anchor" in settings else None
        dictionary = sdl.fit(x, anchors=anchors, progress=False, device="cpu", **SIZES, **settings)
        if settings["activation"] == "topk":
            sdl.search(dictionary, x, progress=False)
    sdl.solve(x, n_atoms=32, max_steps=2, batch_size=64, progress=False)
    products.DENSE = 1.0  # a large share of so few latents is active
    for activation, k in (("topk", 4), ("relu", None)):
        model = SparseCoder.from_config(
            ModelConfig("sae", activation, 64, k, bias=True), (16,), (16,), torch.Generator()
        ).double()
        out = model(torch.from_numpy(x[:64]).double().requires_grad_(), norms=True)
        (out.x_hat.square().sum() + out.norms.sum()).backward()


if __name__ == "__main__":
    main()
