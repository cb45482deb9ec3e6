"""Time training steps, memory and recovery of sdlcore and its peers, in one run: see benchmarks/README.md."""

import argparse
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cases import BATCHES, DENSE, LATENTS, LIBRARIES, METHODS, SPARSE

log = logging.getLogger("benchmarks")

RESULTS = Path(__file__).parent / "results"
BUSY = 0.5
"""Load average above which timings are not to be trusted."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD", help="methods")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), metavar="LIBRARY")
    parser.add_argument("--batch", nargs="+", type=int, choices=BATCHES, default=list(BATCHES), help="batch sizes")
    parser.add_argument("--rounds", type=int, help="rounds at every batch size (default: 4 at 1024, 2 at 4096)")
    parser.add_argument("--skip-steps", action="store_true", help="no steps.csv")
    parser.add_argument("--skip-recovery", action="store_true", help="no recovery.csv")
    parser.add_argument(
        "--recovery-seconds", type=float, default=300.0, help="training a library, at most (default: 300)"
    )
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each library (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results, in it partial/ for a part)")
    return parser.parse_args(arguments)


def is_partial(options: argparse.Namespace) -> bool:
    """Tell whether something is left out, so that its results do not take the place of the whole's."""
    everything = parse([])
    parts = ("only", "libraries", "batch", "skip_steps", "skip_recovery")
    return any(getattr(options, name) != getattr(everything, name) for name in parts)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # what numpy and torch read when they are loaded, and so what is imported after it
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    from benchmarks import machine, results

    started, load = time.monotonic(), machine.load()
    if load > BUSY:
        log.warning("load average is %.2f: something else is running, and every number below suffers from it", load)
    with tempfile.TemporaryDirectory(prefix="sdlcore-benchmark-") as folder:
        steps, recovery, versions = _measure(options, Path(folder))
    facts: dict[str, Any] = {
        **machine.describe(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": (time.monotonic() - started) / 60,
        "load": load,
        "threads": options.threads,
        "versions": versions,
        "partial": is_partial(options),
        "arguments": shlex.join(arguments),
    }
    folder_for_results = options.results or (RESULTS / "partial" if is_partial(options) else RESULTS)
    results.write(folder_for_results, steps, recovery, facts)
    if folder_for_results == RESULTS:
        results.show(RESULTS.parents[1] / "README.md", results.read(RESULTS / "steps.csv"))
    log.info("wrote %s", folder_for_results)


def _measure(
    options: argparse.Namespace, folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Draw the data into ``folder``, and measure what is asked for."""
    import numpy as np
    import torch

    from benchmarks import recovery, states, timing
    from benchmarks.cases import groups
    from sdlcore.files import atomic_path

    torch.set_num_threads(options.threads)
    samples, features = folder / "samples.npy", folder / "features.npy"
    log.info("drawing the bench and the states")
    bench = states.bench(options.seed, recovery.N_SAMPLES if not options.skip_recovery else max(BATCHES))
    for path, array in ((samples, bench.x), (features, np.ascontiguousarray(bench.W.T))):
        with atomic_path(path) as part:
            np.save(part, array)

    steps: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    if not options.skip_steps:
        batch = bench.x[: max(BATCHES)]
        rows = states.dictionary(bench.W, LATENTS, options.seed)
        paths = {l0: folder / f"state-{l0}.safetensors" for l0 in (SPARSE, DENSE)}
        for l0, path in paths.items():
            states.save_state(path, rows, states.bound_for(batch, rows, l0))
        del rows
        for group in groups(options.only, options.batch, options.libraries):
            effort = timing.EFFORTS[group.batch]
            effort = effort._replace(rounds=options.rounds or effort.rounds)
            found, answered = timing.measure(group, samples, paths[group.state], effort, options.threads)
            steps += found
            versions |= answered
    del bench
    race: list[dict[str, Any]] = []
    if not options.skip_recovery:
        race, answered = recovery.run(
            options.libraries, samples, features, options.recovery_seconds, options.threads, options.seed
        )
        versions |= answered
    return steps, race, versions


if __name__ == "__main__":
    main(sys.argv[1:])
