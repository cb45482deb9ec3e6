"""Compare four trainings side by side with a single one: `OMP_WAIT_POLICY=PASSIVE python -m benchmarks.many`.

It takes nine minutes on two idle cores. Each size is trained in turns: once by `sdlcore.fit` on all cores, once on one
core, and with four seeds by `sdlcore.fit_many`. The output is the time of the four relative to one, as median and range
over rounds; one after the other they would take 4. The lower limit for four trainings that share nothing is printed,
too: four times the time of one training on one core, divided by the number of cores. So is the share of processor time
for reading batches, which sharing them could save.
"""

import argparse
import statistics
import time
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.timing import turns
from sdlcore.random_streams import stream, torch_stream

RUNS = 4
ROUNDS = 5
ACTIVE = 0.03
"""Share of the features that are active in a sample."""


class Size(NamedTuple):
    """A training that is long enough for its start-up to hardly matter."""

    dimension: int
    settings: dict[str, Any]


SIZES = {
    "default": Size(96, {"activation": "topk", "k": 16, "n_q": 2048, "batch_size": 512, "steps": 1000}),
    "middle": Size(768, {"activation": "topk", "k": 32, "n_q": 4096, "batch_size": 1024, "steps": 120}),
    "paper": Size(768, {"activation": "topk", "k": 64, "n_q": 16_000, "batch_size": 1024, "steps": 100}),
}


def samples(dimension: int, rows: int = 20_000) -> torch.Tensor:
    """Return sums of a few random directions, twice as many as dimensions."""
    generator = torch_stream(0, "samples")
    directions = torch.nn.functional.normalize(torch.randn(2 * dimension, dimension, generator=generator))
    present = torch.rand(rows, 2 * dimension, generator=generator) < ACTIVE
    return (present * torch.rand(rows, 2 * dimension, generator=generator)) @ directions


def compare(name: str, size: Size) -> None:
    """Time one training and four in turns, and print the comparison."""
    import sdlcore as sdl
    from sdlcore.data.batches import BatchReader
    from sdlcore.data.memory import Arrays

    x, cores = samples(size.dimension), torch.get_num_threads()
    settings: dict[str, Any] = size.settings | {"device": "cpu", "progress": False, "initialisation": "tied"}

    def on_one_core() -> None:
        torch.set_num_threads(1)
        try:
            sdl.fit(x, **settings)
        finally:
            torch.set_num_threads(cores)

    ways = {
        "one": lambda: sdl.fit(x, **settings),
        "one core": on_one_core,
        "four": lambda: sdl.fit_many(x, {str(seed): {"seed": seed} for seed in range(RUNS)}, **settings),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    spent: list[float] = []
    for round_, order in enumerate(turns(tuple(ways), ROUNDS + 1)):
        for way in order:
            started, worked = time.perf_counter(), time.process_time()
            ways[way]()
            if round_:  # the first round compiles, and allocates memory
                taken[way].append(time.perf_counter() - started)
                spent += [time.process_time() - worked] if way == "one" else []
    reader = BatchReader(Arrays(x.numpy()), "sae", size.settings["batch_size"], partial(stream, 0, "order"))
    worked = time.process_time()
    for step in range(size.settings["steps"]):
        reader(step)
    reading = (time.process_time() - worked) / statistics.median(spent)
    ratios = [four / one for one, four in zip(taken["one"], taken["four"], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} over {ROUNDS} rounds"
    print(f"{name}: {statistics.median(taken['one']):.2f} s for one on {cores} threads", flush=True)
    print(f"  {RUNS} side by side take {statistics.median(ratios):.2f} times as long ({spread})", flush=True)
    least = [RUNS / cores * alone / one for one, alone in zip(taken["one"], taken["one core"], strict=True)]
    print(f"  without sharing they cannot take less than {statistics.median(least):.2f} times as long", flush=True)
    print(f"  reading batches takes {reading:.1%} of the processor time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SIZES, nargs="+", default=list(SIZES), help="these sizes")
    for name in parser.parse_args().only:
        compare(name, SIZES[name])


if __name__ == "__main__":
    main()
