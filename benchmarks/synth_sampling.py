"""Compare the processor time that we and SAELens take for a sample of SynthSAEBench's distribution: `make peers`, then

    benchmarks/.venv/bin/python -m benchmarks.synth_sampling --csv benchmarks/results/synth_sampling.csv

Both draw the same distribution on one thread, in turns: coefficients alone, and samples, which are coefficients times
features. The time is the median over rounds of the whole process' processor time, which other work on the machine
disturbs less than time by the clock.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sae_lens.synthetic import (
    FoldedNormalMagnitudeConfig,
    HierarchyConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    OrthogonalizationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)

from benchmarks.timing import turns
from sdlcore.benches.config import SynthSource
from sdlcore.benches.synth import SynthBench, synthesise
from sdlstudy.results.tables import write_csv

SIZES = {1024: (192, 8), 4096: (384, 32), 16384: (768, 128)}
"""Dimensions and trees for each number of features."""


def their_settings(source: SynthSource, seed: int) -> SyntheticModelConfig:
    """Return SAELens' settings of the same distribution."""
    steps, rate = source.orthogonal_steps, source.orthogonal_rate
    return SyntheticModelConfig(
        num_features=source.n,
        hidden_dim=source.n_p,
        firing_probability=ZipfianFiringProbabilityConfig(source.exponent, source.max_frequency, source.min_frequency),
        hierarchy=HierarchyConfig(
            total_root_nodes=source.roots,
            branching_factor=source.branching,
            max_depth=source.depth,
            mutually_exclusive_portion=1.0,
            compensate_probabilities=True,
            scale_children_by_parent=source.version == 2,
        ),
        orthogonalization=OrthogonalizationConfig(steps, rate) if steps else None,
        correlation=LowRankCorrelationConfig(source.rank, source.correlation),
        mean_firing_magnitudes=LinearMagnitudeConfig(source.first_magnitude, source.last_magnitude),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(source.deviation, source.deviation_spread),
        bias=source.bias,
        seed=seed,
    )


def ways(source: SynthSource, batch: int) -> dict[tuple[str, str], Callable[[int], object]]:
    """Return the functions to time, by library and result; each takes the number of the round."""
    bench = SynthBench.draw(seed=0, **source.to_dict())
    sampler, rows = bench.sampler("train"), bench.W_p.T.copy()
    model = SyntheticModel(their_settings(source, seed=0))

    def samples(number: int) -> np.ndarray:
        x = sampler.coefficients(number * batch, batch)
        return synthesise(x, rows, bench.distribution.bias)

    return {
        ("sdlcore", "coefficients"): lambda number: sampler.coefficients(number * batch, batch),
        ("sdlcore", "samples"): samples,
        ("saelens", "coefficients"): lambda number: model.activation_generator.sample(batch),
        ("saelens", "samples"): lambda number: model.sample(batch),
    }


def measure(n: int, batch: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for each library and result."""
    n_p, roots = SIZES[n]
    timed = ways(SynthSource(n=n, n_p=n_p, roots=roots, orthogonal_steps=0), batch)
    taken: dict[tuple[str, str], list[float]] = {way: [] for way in timed}
    for number, order in enumerate(turns(list(timed), rounds + 1)):
        for way in order:
            start = time.process_time()
            timed[way](number)
            taken[way].append(time.process_time() - start)
    return [
        {
            **{"features": n, "library": library, "result": result, "batch": batch, "rounds": rounds},
            "microseconds": round(1e6 * statistics.median(times[1:]) / batch, 1),  # the first round compiles
        }
        for (library, result), times in taken.items()
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--features", nargs="+", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    logging.disable()
    torch.set_num_threads(1)
    rows = [row for n in arguments.features for row in measure(n, arguments.batch, arguments.rounds)]
    write_csv(arguments.csv, pd.DataFrame(rows))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
