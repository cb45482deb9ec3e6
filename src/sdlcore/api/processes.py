"""Start the other processes of a training, which then train one dictionary together with this process.

This process has rank 0: it reports progress, calls callbacks, writes the run's folder and gets the dictionary. The
others (`sdlcore.api.worker`) read their task from files in a temporary folder, so nothing is pickled. A
``request`` is a `sdlcore.api.fitting.Fit`, whose module imports this one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
from annotated_types import Ge, Le

from sdlcore.api.sources import Source
from sdlcore.data.anchors import save_anchors
from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.references import save_references
from sdlcore.data.side_by_side import SideBySide
from sdlcore.parallel.groups import current_processes
from sdlcore.plugins.registry import Extension, registered
from sdlcore.run import RunConfig, check_division
from sdlcore.settings import Split, checked
from sdlcore.storage.npy import Numbers
from sdlcore.training.distributed import PATIENCE, joined

TASK, ANCHORS, WATCH, START = "task.json", "anchors.safetensors", "watch.safetensors", "start.safetensors"
"""Files in the temporary folder; the last three only if the training uses them."""
HOST = "127.0.0.1"
GRACE = 10.0
"""Seconds to wait for the exit status of a process that closed its connections."""


@dataclass(frozen=True)
class Division:
    """The number of processes that train a dictionary, and whether they divide samples or latents."""

    processes: int
    split: Split

    @classmethod
    def of(cls, processes: Any, split: Any) -> "Division":
        """Check both arguments; ValueError naming the wrong one."""
        return cls(checked("processes", Annotated[int, Ge(1), Le(1000)], processes), checked("split", Split, split))

    def check(self, request: Any, source: Source) -> None:
        """Check that several processes can train the requested dictionary; ValueError with the reason if not."""
        why = f"processes is {self.processes}, but"
        if not isinstance(request.config, RunConfig):
            raise ValueError(f"{why} a solver runs in one process; leave processes out")
        source.stored("several processes read samples from an array or a store")
        for name in ("optimizer", "schedule"):
            if getattr(request.custom_parts, name) is not None:
                raise ValueError(f"{why} {name} is a function, which other processes cannot receive; leave one out")
        if current_processes().all.size > 1 or dist.is_initialized():
            raise ValueError(f"{why} this process already belongs to a group of torch.distributed; leave processes out")
        for extension in _plugins(request.config):
            if extension.module == "__main__":
                raise ValueError(
                    f"{why} {extension.kind} {extension.name} is defined in the main script or notebook, which other "
                    "processes cannot import; move it to a module"
                )
        if problem := check_division(request.config, self.processes, self.split):
            raise ValueError(problem)


def _plugins(config: Any) -> list[Extension]:
    """Return the plugins that a training uses."""
    names = [registered("activation", config.model.activation)]
    names += [registered("loss term", term) for term in config.loss.terms]
    return [extension for extension in names if extension is not None]


@contextmanager
def several_processes(
    division: Division, request: Any, source: Source, facts: dict[str, Any], out: Path | None
) -> Iterator[None]:
    """Start the other processes; in the block, `Fit.find` trains together with them. They end with the block.

    Raises
    ------
    ChildProcessError
        If another process fails, with its message.
    """
    processes, threads = division.processes, torch.get_num_threads()
    share = max(1, threads // processes)
    with tempfile.TemporaryDirectory(prefix="sdlcore-") as name:
        folder = Path(name)
        store = dist.TCPStore(HOST, 0, is_master=True, timeout=PATIENCE, wait_for_workers=False)
        task = {
            "config": request.config.to_dict(),
            "seed": request.seed,
            "device": request.device.type,
            "keep_state": request.keep_state,
            "facts": facts,
            "out": None if out is None else str(out.absolute()),
            "x": _files(source.stored("several processes read all samples"), folder),
            "plugins": [extension.module for extension in _plugins(request.config)],
            "processes": processes,
            "split": division.split,
            "threads": share,
            "port": store.port,
        }
        _write(folder, task, request)
        others = _Others(folder, processes)
        try:
            torch.set_num_threads(share)
            others.wait_for(store)
            with joined(division.split, store=store, rank=0, world_size=processes):
                yield
        except (ConnectionError, TimeoutError) as error:
            if (failure := others.failure(GRACE)) is not None:
                raise ChildProcessError(failure) from error
            raise
        finally:
            torch.set_num_threads(threads)
            others.end()


def _write(folder: Path, task: dict[str, Any], request: Any) -> None:
    """Write the task of the other processes."""
    (folder / TASK).write_text(json.dumps(task), encoding="utf-8")
    if request.anchors is not None:
        save_anchors(folder / ANCHORS, request.anchors, {})
    if request.watch is not None:
        save_references(folder / WATCH, request.watch, {})
    if request.start is not None:
        request.start.save(folder / START)


def _files(samples: Activations, folder: Path) -> list[str]:
    """Return the paths of the sites, or of the stores. Arrays in memory are written to the folder."""
    if isinstance(samples, SideBySide):
        return [str(path.absolute()) for path in samples.paths]
    if not isinstance(samples, Arrays):
        return [str(samples.path.absolute())]
    paths = []
    for site, values in enumerate(samples.sites):
        path = values.path if isinstance(values, Numbers) else folder / f"site{site}.npy"
        if not isinstance(values, Numbers):
            np.save(path, np.ascontiguousarray(values))
        paths.append(str(path.absolute()))
    return paths


class _Others:
    """The processes of ranks 1 and above. Ctrl-C in a terminal reaches only rank 0, which interrupts the others."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder, self._size = folder, processes
        # modules of plugins are found where this process finds them
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._by_rank = {}
        for rank in range(1, processes):
            with self._output(rank).open("wb") as output:
                self._by_rank[rank] = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sdlcore.api.worker", str(folder), str(rank)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "PYTHONPATH": path, "LOCAL_RANK": str(rank)},
                    start_new_session=True,
                )

    def _output(self, rank: int) -> Path:
        return self._folder / f"{rank}.txt"

    def wait_for(self, store: dist.Store) -> None:
        """Wait until all of them have started; ChildProcessError if one ends before."""
        while not all(store.check([str(rank)]) for rank in self._by_rank):
            if (failure := self.failure()) is not None:
                raise ChildProcessError(failure)
            time.sleep(0.02)

    def failure(self, seconds: float = 0.0) -> str | None:
        """Return what went wrong in the first of them that has failed, or None if none fails within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            for rank, process in self._by_rank.items():
                if process.poll():
                    return f"process {rank} of {self._size} (from 0): {self._reason(rank, process.returncode)}"
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)

    def _reason(self, rank: int, code: int) -> str:
        if code < 0:
            name = signal.Signals(-code).name
            return f"ended by {name}, perhaps for lack of memory; the same call resumes from the last checkpoint"
        lines = self._output(rank).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"ended with status {code}")

    def end(self) -> None:
        """End all that still run."""
        for process in self._by_rank.values():
            process.kill()
            process.wait()
