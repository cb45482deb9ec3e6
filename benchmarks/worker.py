"""The process that runs one library: one line of JSON in, one line of JSON out.

Each library has its own process, so that memory belongs to the library alone. Between its turns the process waits for a
line without using the processor.
"""

import argparse
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import machine
from benchmarks.cases import Setting
from benchmarks.libraries import Make, Trainee, load
from benchmarks.states import bound_for, dictionary, load_state, weights
from peers.settings import DISTRIBUTIONS as PEERS

DISTRIBUTIONS = {"sdlcore": "sdlcore", **PEERS}


class Session:
    """The state of a worker between lines. Each public method answers the line with its name."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.make: Make = load(library)
        self.trainee: Trainee | None = None
        self.started = False
        self.batch = torch.empty(0)
        self.baseline = 0.0

    def versions(self) -> dict[str, Any]:
        """Return the versions of the library and its dependencies."""
        found = {}
        for name in (DISTRIBUTIONS[self.library], "torch", "numpy", "numba"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return {"versions": found}

    def create(self, setting: dict[str, Any], samples: str, dictionary: str, bound: float = 0.0) -> dict[str, Any]:
        """Create a training on one fixed batch, in place of the previous one."""
        wanted = Setting(**{**setting, "prefixes": tuple(setting["prefixes"])})
        self.trainee = None
        gc.collect()
        if not self.started:
            self._pay_once(wanted)
            self.baseline = machine.resident()
            self.started = True
        self.batch = torch.from_numpy(np.array(np.load(samples, mmap_mode="r")[: wanted.batch]))
        self.trainee = self.make(wanted, load_state(Path(dictionary), bound, wanted.method))
        machine.reset_peak()
        return {}

    def steps(self, count: int) -> dict[str, Any]:
        """Train, and return the milliseconds of each step."""
        trainee = self._trainee()
        times = []
        for _ in range(count):
            started = time.perf_counter()
            trainee.step(self.batch)
            times.append(1000 * (time.perf_counter() - started))
        return {"ms": times}

    def forget(self) -> dict[str, Any]:
        """Reset `peak`."""
        machine.reset_peak()
        return {}

    def peak(self) -> dict[str, Any]:
        """Return the peak memory of steps in MiB, beyond the memory of the process before it had a model."""
        return {"mb": machine.peak() - self.baseline}

    def l0(self) -> dict[str, Any]:
        """Return the number of active latents."""
        return {"l0": self._trainee().l0(self.batch)}

    def _trainee(self) -> Trainee:
        if self.trainee is None:
            raise RuntimeError("nothing is in training yet; send create first")
        return self.trainee

    def _pay_once(self, setting: Setting) -> None:
        """Train a tiny model first, so that one-time costs of a process (compiling, loading code) are not measured.

        It is as sparse as the following training, because sparsity may decide which code runs.
        """
        small = setting.toy
        x = np.random.default_rng(0).standard_normal((small.batch, small.dimension), dtype=np.float32)
        rows = dictionary(np.eye(small.dimension, dtype=np.float32), small.latents, small.seed)
        bound = bound_for(x, rows, small.k)
        toy = self.make(small, weights(torch.from_numpy(rows), torch.tensor(bound), small.method))
        for _ in range(2):
            toy.step(torch.from_numpy(x))
        toy.l0(torch.from_numpy(x))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.worker", description=__doc__)
    parser.add_argument("library", choices=sorted(DISTRIBUTIONS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    # libraries may print to stdout, which must not mix with answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(arguments.threads)
    session: Session | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            session = session or Session(arguments.library)
            method: Callable[..., dict[str, Any]] = getattr(session, request.pop("do"))
            answer = method(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
