"""Time the dense product x @ W_enc.T beside every step: a lower bound for trainings of a dense encoder."""

import time

import torch

from benchmarks.cases import DIMENSION, LATENTS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ONE_DNN = "oneDNN"
"""Name of the float32 product by oneDNN. `torch.mm` uses MKL, which is slower on some processors."""
PRODUCTS = (*DTYPES, ONE_DNN)


class Probe:
    """Operands and output for one batch size, allocated once, so that only the product is timed."""

    def __init__(self, batch: int, dimension: int = DIMENSION, latents: int = LATENTS) -> None:
        generator = torch.Generator().manual_seed(0)
        x, W = (torch.randn(rows, dimension, generator=generator) for rows in (batch, latents))
        self.operands = {name: (x.to(dtype), W.to(dtype)) for name, dtype in DTYPES.items()}
        self.results = {name: torch.empty(batch, latents, dtype=dtype) for name, dtype in DTYPES.items()}
        for name in PRODUCTS:
            self(name)

    def __call__(self, product: str) -> float:
        """Return the milliseconds of one of `PRODUCTS`."""
        x, W = self.operands["float32" if product == ONE_DNN else product]
        started = time.perf_counter()
        if product == ONE_DNN:
            torch.ops.mkldnn._linear_pointwise(x, W, None, "none", [], "")
        else:
            torch.mm(x, W.T, out=self.results[product])
        return 1000 * (time.perf_counter() - started)
