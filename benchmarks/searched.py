"""Search one store and print the result: the worker process of `benchmarks.convex_search`.

python -m benchmarks.searched STORE FEATURES THREADS SEED SETTINGS
"""

import json
import logging
import resource
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import memory
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import open_checked
from sdlcore.data.recovery_rule import TAU, TAU_STRICT, recovered
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import compile_loops, find


def searched(store: str, features: str, config: SolverConfig, seed: int) -> dict[str, Any]:
    """Return seconds, memory and recovery of a search."""
    compile_loops(config)
    with open_checked(store) as opened:
        reader = BatchReader(opened, "sae", config.batch_size, partial(stream, seed, "order"))
        memory.reset_peak()
        began = resource.getrusage(resource.RUSAGE_SELF)
        found = find(lambda step: torch.from_numpy(reader(step)[0]), config, torch_stream(seed, "initialisation"))
        ended = resource.getrusage(resource.RUSAGE_SELF)
        peak = memory.peak()
    best = (torch.from_numpy(np.load(features)) @ found.atoms.T).amax(1)
    return {
        "seconds": found.rows[-1]["seconds"],
        "processor_seconds": ended.ru_utime - began.ru_utime + ended.ru_stime - began.ru_stime,
        "peak_mb": peak,
        "steps": len(found.rows),
        "atoms": len(found.atoms),
        "recovery": float(recovered(best, TAU).float().mean()),
        "recovery_tau95": float(recovered(best, TAU_STRICT).float().mean()),
    }


def main(arguments: Sequence[str]) -> None:
    """Run the search with the arguments listed above, in that order."""
    store, features, threads, seed, settings = arguments
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(int(threads))
    config = SolverConfig.from_dict(json.loads(settings))
    print(json.dumps(searched(store, features, config, int(seed))))


if __name__ == "__main__":
    main(sys.argv[1:])
