"""The process that times one library at one size on a GPU, and writes the result to a file."""

import json
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import memory
from benchmarks.cases import Setting
from benchmarks.libraries import load
from benchmarks.states import weights
from peers.settings import DISTRIBUTIONS

WARMUP, STEPS = 3, 20
SECONDS = 6.0
"""Approximate duration of the timed steps."""
_FEATURES, _SKEW = 32, 3.0
"""Active features per sample, and the skew of their frequencies: a feature's number is u^3 n with uniform u."""
_AT_ONCE = 1024


def samples(W: Tensor, batch: int, seed: int) -> Tensor:
    """Return sums of few dictionary rows, some of which are active far more often than others, plus noise."""
    generator = torch.Generator(W.device).manual_seed(seed)
    parts = []
    for start in range(0, batch, _AT_ONCE):
        shape = min(_AT_ONCE, batch - start), _FEATURES
        features = (torch.rand(shape, generator=generator, device=W.device) ** _SKEW * len(W)).long()
        sizes = torch.rand(shape, generator=generator, device=W.device)
        parts.append(functional.embedding_bag(features, W, mode="sum", per_sample_weights=sizes))
    x = torch.cat(parts)
    return x + 0.1 * torch.randn(x.shape, generator=generator, device=W.device) / x.shape[1] ** 0.5


def timed(library: str, setting: Setting, tf32: bool) -> dict[str, Any]:
    """Return the median milliseconds of a step, and the peak memory of training in MiB, weights included."""
    make = load(library)
    if tf32:
        torch.set_float32_matmul_precision("high")
    device = torch.device(setting.device)
    generator = torch.Generator(device).manual_seed(setting.seed)
    W = torch.randn(setting.latents, setting.dimension, generator=generator, device=device)
    W = functional.normalize(W)
    x = samples(W, setting.batch, setting.seed)
    # methods without k need a bound to fix their number of active latents
    start = weights(W.cpu(), torch.zeros(()), setting.method)
    del W
    trainee = make(setting, start)
    del start
    _wait(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        memory.reset_peak()
    for _ in range(WARMUP):
        trainee.step(x)
    times: list[float] = []
    while len(times) < 3 or (len(times) < STEPS and sum(times) < 1000 * SECONDS):
        _wait(device)
        started = time.perf_counter()
        trainee.step(x)
        _wait(device)
        times.append(1000 * (time.perf_counter() - started))
    peak = torch.cuda.max_memory_allocated() / memory.MIB if device.type == "cuda" else memory.peak()
    l0 = trainee.l0(x)
    return {
        **{"ms_per_step": statistics.median(times), "ms_least": min(times), "ms_most": max(times)},
        **{"steps": len(times), "peak_mb": peak, "l0": l0, "versions": _versions(library)},
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _versions(library: str) -> dict[str, str]:
    """Return the versions of a library and of the packages that it computes with."""
    found = {}
    for name in (DISTRIBUTIONS.get(library, library), "torch", "triton", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    request, path = json.loads(sys.argv[1]), Path(sys.argv[2])
    given = request["setting"]
    setting = Setting(**{**given, "prefixes": tuple(given["prefixes"])})
    path.write_text(json.dumps(timed(request["library"], setting, request["tf32"])))


if __name__ == "__main__":
    main()
