"""Measure the processor time that each method of a comparison trains for: `python -m benchmarks.method_seconds`.

Processor time hardly depends on what else a machine does, unlike the seconds in tables of runs. A short training before
each ground compiles kernels:

    python -m benchmarks.method_seconds plain results/methods/activations/plain/seed0/train.h5 --csv seconds.csv
"""

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import sdlcore as sdl
from sdlcore.study.configuration.loading import configure, load_yaml
from sdlcore.study.configuration.whole import Configuration
from sdlcore.study.results.tables import write_csv
from sdlcore.study.settings.cells import Cell, run_settings

REPOSITORY = Path(__file__).parents[1]


def measure(config: Configuration, ground: str, store: str, methods: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield a row for each method, or for some of them, with the processor seconds of `sdl.fit` on one thread."""
    asked = config.comparison.asked()[ground]
    for method in methods or asked.methods:
        settings = run_settings(config, Cell(ground, method, asked.protocol or "best", "none", 0)).to_dict()
        began = time.process_time()
        sdl.fit(store, seed=0, progress=False, device="cpu", **settings)
        yield {"ground": ground, "method": method, "processor_seconds": round(time.process_time() - began, 2)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ground", help="a source of the comparison")
    parser.add_argument("store", help="its training samples, which the comparison has drawn")
    parser.add_argument("--csv", type=Path, required=True, help="table to write, or to add rows to")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "config/methods.yaml")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = configure(load_yaml(arguments.config), load_yaml(REPOSITORY / "config/config.yaml"))
    rows = pd.read_csv(arguments.csv).to_dict("records") if arguments.csv.is_file() else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the settings of null baselines and dead latents
        list(measure(config, arguments.ground, arguments.store, ["topk"]))
        for row in measure(config, arguments.ground, arguments.store):
            rows.append(row)
            write_csv(arguments.csv, pd.DataFrame(rows))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
