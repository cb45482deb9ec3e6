"""Compile the kernels of trainings into numba's cache, so that parallel tests do not compile each of them again."""

import warnings

import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse import products
from sdlcore.sparse.kernels import int8
from tests.training.test_loop import METHODS, X, run


def main() -> None:
    """Train each method for a few steps, run a solver, and make one pass in the precision of gradient tests."""
    warnings.simplefilter("ignore")  # trainings this short cause warnings
    for settings in METHODS.values():
        if settings.get("precision") != "int8" or int8.is_exact():
            run({**settings, "steps": 25})
    sdl.search(sdl.fit(X, activation="topk", k=4, n_q=64, steps=4, progress=False, device="cpu"), X, progress=False)
    sdl.solve(X, n_atoms=32, max_steps=2, batch_size=64, progress=False)
    products.DENSE = 1.0  # a large share of so few latents is active
    for activation, k in (("topk", 4), ("relu", None)):
        config = ModelConfig("sae", activation, 64, k, bias=True)
        model = SparseCoder.from_config(config, (16,), (16,), torch.Generator()).double()
        out = model(torch.from_numpy(X[:64]).double().requires_grad_(), norms=True)
        (out.x_hat.square().sum() + out.norms.sum()).backward()


if __name__ == "__main__":
    main()
