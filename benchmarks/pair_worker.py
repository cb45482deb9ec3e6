"""The worker process of `benchmarks.pairs`: trains with the checkout on its path, and takes steps on request.

It imports only what every version of the package has.
"""

import json
import resource
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from sdlcore.random_streams import torch_stream
from sdlcore.training.initialise import initial_model, start_from_data
from sdlcore.training.step import TrainingStep

N_P, N_Q, BATCH, BATCHES = 768, 16_000, 1024, 4


def settings(method: str, l0: int) -> dict[str, Any]:
    """Return the run's settings. Methods without k start at ``l0``; the learning rate is too small to move them."""
    shared: dict[str, Any] = {
        "n_q": N_Q,
        "batch_size": BATCH,
        "steps": 100_000,
        "lr": 1e-6,
        "lr_warmup": 0,
        "bias": False,
        "decoder_norm": "unit",
    }
    if method == "matryoshka":
        return {**shared, "activation": "batchtopk", "k": l0, "prefixes": [N_Q // 16, N_Q // 4, N_Q]}
    if method in ("relu", "gated", "jumprelu"):
        term = "l0" if method == "jumprelu" else "l1"
        return {**shared, "activation": method, "bias": True, "init_l0": l0, term: 1e-3}
    return {**shared, "activation": method, "k": l0}


def main(method: str, l0: int) -> None:
    flat = find_spec("sdlcore.config") is not None  # not in versions whose settings had three parts
    kind: Any = import_module("sdlcore.config").Config if flat else import_module("sdlcore.run").RunConfig
    config = kind.from_dict(settings(method, l0))
    nothing: Any = None  # weights are drawn, so neither samples nor their scaling are used
    model = initial_model(config.model, [N_P], 0, nothing, nothing)
    generator = torch_stream(0, "pairs")
    samples = [torch.randn(BATCH, N_P, generator=generator) for _ in range(BATCHES)]
    start_from_data(model.train(), samples[0])
    step = TrainingStep(model, config)
    taken = 0
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            x = samples[taken % BATCHES]
            begun = time.perf_counter()
            found = step(x, x, step=taken)
            seconds.append(time.perf_counter() - begun)
            taken += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "l0": float(found["l0"]), "peak": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
