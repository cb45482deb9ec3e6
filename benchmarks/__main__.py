"""Time training steps and memory of sdlcore and its peers, in one run: see benchmarks/README.md."""

import argparse
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import BATCHES, LATENTS, LIBRARIES, METHODS

if TYPE_CHECKING:
    from benchmarks.results import Record

log = logging.getLogger("benchmarks")

RESULTS = Path(__file__).parent / "results"
"""One folder for each processor on which the whole benchmark ran; docs/speed.md shows them all."""
BUSY = 0.5
"""Load average above which timings are unreliable."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD", help="methods")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), metavar="LIBRARY")
    parser.add_argument("--batch", nargs="+", type=int, choices=BATCHES, default=list(BATCHES), help="batch sizes")
    parser.add_argument("--rounds", type=int, help="rounds at every batch size (default: 4 at 1024, 2 at 4096)")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each library (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--results", type=Path, help="folder (default: benchmarks/results/PROCESSOR, or results/partial for a part)"
    )
    return parser.parse_args(arguments)


def is_partial(options: argparse.Namespace) -> bool:
    """Return whether something is left out, so that results of a part do not replace results of the whole."""
    everything = parse([])
    return any(getattr(options, name) != getattr(everything, name) for name in ("only", "libraries", "batch"))


def main(arguments: Sequence[str]) -> None:
    """Run the selected measurements, and write every row as soon as it is known.

    Raises
    ------
    SystemExit
        If a case failed, after all other cases were measured.
    """
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # before numpy, torch and everything that loads them are imported, because they read it then
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    from benchmarks import machine, results

    load = machine.load()
    if load > BUSY:
        log.warning("load average is %.2f: something else is running, and every number below suffers from it", load)
    described = machine.describe()
    facts: dict[str, Any] = {
        **described,
        "processor": machine.processor(described),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "load": load,
        "threads": options.threads,
        "partial": is_partial(options),
        "arguments": shlex.join(arguments),
    }
    # results of the whole are replaced only by results of another whole
    record = results.Record(options.results or RESULTS / "partial", facts)
    with tempfile.TemporaryDirectory(prefix="sdlcore-benchmark-") as folder:
        _measure(options, Path(folder), record)
    record.write(finished=True)
    if record.failed:
        names = "".join(f"\n  {name}" for name in record.failed)
        sys.exit(f"these cases failed, and all others are in {record.folder}:{names}")
    if options.results is None and not is_partial(options):
        record.folder = RESULTS / machine.folder_of(facts["processor"])
        record.write(finished=True)
        results.show_all(RESULTS, RESULTS.parents[1] / "docs/speed.md")
    log.info("wrote %s", record.folder)


def _measure(options: argparse.Namespace, folder: Path, record: "Record") -> None:
    """Draw the data into ``folder``, and run the selected measurements."""
    import numpy as np
    import torch

    from benchmarks import machine, states, timing
    from benchmarks.cases import groups
    from sdlcore.storage.files import atomic_path

    torch.set_num_threads(options.threads)
    samples, dictionary = folder / "samples.npy", folder / "dictionary.safetensors"
    log.info("drawing the bench")
    bench = states.bench(options.seed, max(BATCHES))
    with atomic_path(samples) as part:
        np.save(part, bench.x)
    rows = states.dictionary(bench.W, LATENTS, options.seed)
    states.save_dictionary(dictionary, rows)
    bound = cache(lambda batch, l0: states.bound_for(bench.x[:batch], rows, l0))
    for group in groups(options.only, options.batch, options.libraries, machine.dtypes(record.facts)):
        effort = timing.effort(group, options.rounds)
        found, team = timing.measure(group, samples, dictionary, partial(bound, group.batch), effort, options.threads)
        processor = {"processor": record.facts["processor"]}
        record.add([processor | row for row in found], team.versions, team.failed)


if __name__ == "__main__":
    main(sys.argv[1:])
