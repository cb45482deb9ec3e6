"""Compare a second process with a second thread: `python -m benchmarks.distributed`, minutes on two idle cores.

The benchmark times steps of one training (768 -> 16,000 latents, about 64 active, float32), always with the same batch.
Teams are one process on one core, one process on two cores, and two processes on one core each, which divide the
batch's samples or the latents. All teams are started at once and take a few steps in turns; each round begins with
another team. The output is each team's speed relative to the first, as median and range over rounds.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

import torch

from benchmarks.cases import DIMENSION, LATENTS
from benchmarks.timing import turns
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.settings import Json, Split
from sdlcore.training.distributed import divide, processes_of
from sdlcore.training.initialise import start_from_data
from sdlcore.training.step import TrainingStep

METHODS: dict[str, dict[str, Json]] = {
    "topk": {"activation": "topk", "k": 64},
    "batchtopk": {"activation": "batchtopk", "k": 64},
    "jumprelu": {"activation": "jumprelu", "l0": 1e-3, "init_l0": 64},
}
EFFORTS = {1024: (5, 3), 4096: (3, 1)}
"""Number of rounds and of steps per round, by batch size."""


class Team(NamedTuple):
    """Processes that train together."""

    name: str
    processes: int = 1
    threads: int = 1
    split: Split = "samples"


TEAMS = (
    Team("1 process x 1 thread"),
    Team("1 process x 2 threads", threads=2),
    Team("2 processes, samples", 2),
    Team("2 processes, latents", 2, split="latents"),
)


def work(method: str, batch: int, threads: int, split: Split) -> None:
    """Run one process of a team: read numbers of steps line by line, take them, and answer with their seconds."""
    torch.set_num_threads(threads)
    # a learning rate so small that the number of active latents does not change
    settings: dict[str, Json] = {
        **METHODS[method],
        "n_q": LATENTS,
        "batch_size": batch,
        "lr": 1e-6,
        "initialisation": "tied",
        "bias": True,
    }
    config = RunConfig.from_dict(settings)
    generator = torch_stream(0, "samples")
    x = torch.randn(batch, DIMENSION, generator=generator)
    with processes_of(split, config) as processes:
        model = SparseCoder(config.model, (DIMENSION,), (DIMENSION,), torch_stream(0, "initialisation"))
        if processes.all.size > 1:
            divide(model, processes)
        model.train()
        start_from_data(model, x)
        step = TrainingStep(model, config)
        for line in sys.stdin:
            started = time.perf_counter()
            for _ in range(int(line)):
                step(x, x)
            print(time.perf_counter() - started, flush=True)


class Workers:
    """A running team of processes; `close` ends it."""

    def __init__(self, team: Team, method: str, batch: int) -> None:
        command = [sys.executable, "-m", "benchmarks.distributed", "--work", method, str(batch), str(team.threads)]
        with socket.socket() as free:
            free.bind(("localhost", 0))
            where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        self._processes = [
            subprocess.Popen(
                [*command, team.split],
                env={**os.environ, **where, "RANK": str(rank), "WORLD_SIZE": str(team.processes)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(team.processes)
        ]

    def __call__(self, steps: int) -> float:
        """Take steps and return the seconds of the slowest process."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        seconds = []
        for process in self._processes:
            assert process.stdout is not None
            seconds.append(float(process.stdout.readline()))
        return max(seconds)

    def close(self) -> None:
        for process in self._processes:
            process.communicate()


def compare(method: str, batch: int) -> None:
    """Time all teams in turns and print the comparison."""
    rounds, steps = EFFORTS[batch]
    taken: dict[Team, list[float]] = {team: [] for team in TEAMS}
    with ExitStack() as stack:
        working = {team: Workers(team, method, batch) for team in TEAMS}
        for team in TEAMS:
            stack.callback(working[team].close)
            working[team](2)
        for order in turns(TEAMS, rounds):
            for team in order:
                taken[team].append(working[team](steps) / steps)
    first = taken[TEAMS[0]]
    print(f"{method}, batch {batch}: {1000 * statistics.median(first):.0f} ms a step on one core", flush=True)
    for team in TEAMS[1:]:
        gains = [alone / together for alone, together in zip(first, taken[team], strict=True)]
        spread = f"{min(gains):.2f} to {max(gains):.2f} over {rounds} rounds"
        print(f"  {team.name:<24} {statistics.median(gains):5.2f} times as fast ({spread})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=METHODS, nargs="+", default=list(METHODS), help="these methods")
    parser.add_argument("--batch", type=int, choices=EFFORTS, nargs="+", default=list(EFFORTS), help="these batches")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        method, batch, threads, split = args.work
        work(method, int(batch), int(threads), split)
        return
    # must be set before torch starts its threads in the worker processes: waiting threads must not spin
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for batch in args.batch:
        for method in args.only:
            compare(method, batch)


if __name__ == "__main__":
    main()
