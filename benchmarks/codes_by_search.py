"""Measure the processor time of codes by search, beside the encoder of a TopK dictionary:

    python -m benchmarks.codes_by_search

Dictionaries of 256 and 4,096 latents are noisy true features of SynthSAEBench's distribution, the most frequent
quarter of all features. (Feature directions are random: the bench's slow steps that make them more orthogonal are left
out.) The dictionary of 16,000 latents has random unit rows, and each sample is a sum of 25 of them with noise.
Posterior codes estimate their statistics from half of the samples. Pursuits and TopK have k = 25.

One thread encodes the other half in one call, all methods in turns. The table has the median over rounds of the
process' processor time, and the time that the first call took longer, since it computes the inner products of all
latents, which later calls use again. Rows go to ``benchmarks/results/PROCESSOR/codes_by_search.csv``.

With ``--few``, the command only prints how long `SparseCoder.encode` takes for 1 to 16 samples, beside plain torch: the
least time of calls in turns.
"""

import argparse
import logging
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import machine
from benchmarks.timing import turns
from sdlcore.benches.synth import SynthBench
from sdlcore.codes.posterior import with_posterior_codes
from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.model.coder import SparseCoder
from sdlstudy.results.tables import write_csv

BENCHES = {256: (192, 8), 4096: (768, 128)}
"""Dimensions and trees for each number of latents of a bench."""
METHODS = ("topk", "posterior", "omp")
K, NOISE, SEED = 25, 0.3, 100


def samples_and_rows(latents: int, n_samples: int) -> tuple[Tensor, Tensor]:
    """Return samples, and unit rows of a dictionary that suits them."""
    generator = torch.Generator().manual_seed(SEED)
    if latents in BENCHES:
        n_p, roots = BENCHES[latents]
        bench = SynthBench.draw(seed=SEED, n=4 * latents, n_p=n_p, roots=roots, orthogonal_steps=0)
        drawn = bench.samples(n_samples)
        frequent = np.argsort(-np.bincount(drawn.features.indices, minlength=4 * latents), kind="stable")[:latents]
        rows = torch.from_numpy(bench.W_p.T[frequent].copy())
        return torch.from_numpy(drawn.input), normalize(
            rows + NOISE * n_p**-0.5 * torch.randn(rows.shape, generator=generator)
        )
    rows = normalize(torch.randn(latents, 768, generator=generator))
    chosen = torch.randint(0, latents, (n_samples, K), generator=generator)
    sizes = 4 + torch.randn(n_samples, K, 1, generator=generator)
    noise = NOISE * torch.randn(n_samples, 768, generator=generator)
    return torch.stack([(rows[i] * z).sum(0) for i, z in zip(chosen, sizes, strict=True)]) + noise, rows


def dictionary(method: str, x: Tensor, rows: Tensor) -> SparseCoder:
    """Return a dictionary of these rows, whose bias is the samples' mean."""
    config = ModelConfig(activation=method, n_q=len(rows), k=K, bias=method == "topk")
    model = SparseCoder.from_config(config, (x.shape[1],), (x.shape[1],)).eval()
    mean = x.mean(0)
    state = {"W_enc": rows, "W_dec": rows, "b_enc": -rows @ mean, "b_dec": mean}
    model.load_state_dict(model.state_dict() | state)
    return model


@torch.no_grad()
def measure(latents: int, n_samples: int, rounds: int) -> list[dict[str, object]]:
    """Return the table's rows of one size."""
    x, rows = samples_and_rows(latents, 2 * n_samples)
    statistics_x, x = x.split(n_samples)
    models = {method: dictionary(method, statistics_x, rows) for method in METHODS if method != "posterior"}
    models["posterior"] = with_posterior_codes(models["topk"], Arrays(statistics_x.numpy()), n_samples)
    active: dict[str, float] = {}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for order in turns(METHODS, rounds + 1):
        for method in order:
            begun = time.process_time()
            out = models[method](x)
            seconds[method].append(time.process_time() - begun)
            active[method] = float(out.active().mean())
    return [
        {
            **{"latents": latents, "dimensions": x.shape[1], "codes": method, "l0": round(active[method], 1)},
            **{"samples": n_samples, "rounds": rounds},
            "microseconds": round(1e6 * (usual := statistics.median(seconds[method][1:])) / n_samples, 1),
            "first_call_ms": round(1e3 * max(0.0, seconds[method][0] - usual), 1),
            "load": round(machine.load(), 1),
        }
        for method in METHODS
    ]


@torch.no_grad()
def measure_few(latents: int, seconds: float) -> Iterator[dict[str, object]]:
    """Yield the times of TopK's encoder for few samples, and of plain torch."""
    x, rows = samples_and_rows(latents, 64)
    model = dictionary("topk", x, rows)

    def plain(x: Tensor) -> Tensor:
        pre = torch.relu(torch.addmm(model.b_enc, x, model.W_enc.T))
        values, indices = pre.topk(K, dim=1)
        return torch.zeros_like(pre).scatter_(1, indices, values)

    for n_samples in (1, 2, 4, 8, 16):
        few, times = x[:n_samples], {"torch": math.inf, "sdlcore": math.inf}
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for name, encode in (("torch", plain), ("sdlcore", model.encode)):
                for _ in range(3):
                    begun = time.perf_counter()
                    encode(few)
                    times[name] = min(times[name], 1e6 * (time.perf_counter() - begun))
        yield {"latents": latents, "dimensions": x.shape[1], "samples": n_samples, **times}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", nargs="+", type=int, default=[256, 4096, 16_000])
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--few", action="store_true", help="only time TopK's encoder for 1 to 16 samples")
    arguments = parser.parse_args(argv)
    logging.disable()
    torch.set_num_threads(1)
    if arguments.few:
        few = [row for latents in arguments.latents for row in measure_few(latents, seconds=arguments.rounds)]
        print(pd.DataFrame(few).round(0).to_string(index=False))
        return
    measure(256, 64, 1)  # compiles
    folder = machine.folder_of(machine.processor(machine.describe()))
    rows: list[dict[str, object]] = []
    for latents in arguments.latents:
        rows += measure(latents, arguments.samples, arguments.rounds)
        write_csv(Path(__file__).parent / "results" / folder / "codes_by_search.csv", pd.DataFrame(rows))
        print(pd.DataFrame(rows).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
