"""Runs survive kills of jobs and of Snakemake at random moments with the same bits as undisturbed runs."""

import os
import random
import re
import time
from collections import Counter

import psutil
import pytest

from tests.faults.conftest import Whole
from tests.faults.pipeline import Invocation, Pipeline

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

KILLS, RUNS = int(os.environ.get("FAULTS_KILLS", 100)), int(os.environ.get("FAULTS_RUNS", 10))
SEED = int(os.environ.get("FAULTS_SEED", time.time_ns() % 2**32))
START_SECONDS = 3.0
"""Approximate seconds before Snakemake starts its first job."""


def test_whatever_is_killed_the_run_ends_as_if_nothing_had_been(whole: Whole, pipeline: Pipeline, capsys):
    rng = random.Random(SEED)
    kills: Counter[str] = Counter()
    run = 0
    with capsys.disabled():
        print(f"\nFAULTS_SEED={SEED}: {KILLS} kills over {RUNS} runs of {whole.seconds:.0f} s each", flush=True)
    while run < RUNS or kills.total() < KILLS:
        run += 1
        pipeline.clear()
        start = time.monotonic()
        events = disturbed_run(pipeline, whole, -(-(KILLS - kills.total()) // max(1, RUNS - run + 1)), rng)
        kills += Counter(events)
        pipeline.assert_same(whole.results)
        with capsys.disabled():
            print(f"run {run}, {time.monotonic() - start:.0f} s, {len(events)} kills: {'; '.join(events)}", flush=True)
    assert kills.total() >= KILLS
    with capsys.disabled():
        print("\n".join(f"{number:4d} {what}" for what, number in kills.most_common()))


def disturbed_run(pipeline: Pipeline, whole: Whole, n_kills: int, rng: random.Random) -> list[str]:
    """Run the pipeline to its end with so many kills, if it lasts long enough; return the killed processes.

    Each kill comes when the first of the remaining kills would come if all were uniform over the remaining time.
    """
    kills: list[str] = []
    while True:
        invocation, killed_here = pipeline.start(), 0
        while len(kills) < n_kills:
            first = 1 - rng.random() ** (1 / (n_kills - len(kills)))
            if invocation.ended_within(first * seconds_left(pipeline, whole)):
                break
            if hit := kill(invocation, rng):
                kills.append(hit)
                killed_here += 1
        status = invocation.process.wait()
        if status == 0:
            pipeline.settle()
            return kills
        assert killed_here, f"failed though nothing was killed in it; before, {kills}:\n{invocation.output()}"
        if status < 0:
            pipeline.unlock()


def seconds_left(pipeline: Pipeline, whole: Whole) -> float:
    """Estimate the remaining duration of a run from its finished jobs."""
    ended = pipeline.seconds_of_jobs().keys() & whole.jobs.keys()
    share = 1 - sum(whole.jobs[job] for job in ended) / sum(whole.jobs.values())
    return START_SECONDS + share * whole.seconds


def kill(invocation: Invocation, rng: random.Random) -> str | None:
    """Kill one process of a job, or Snakemake with all of its jobs; return a description, or None if none ran."""
    processes = invocation.processes()
    victim = rng.choice(sorted(processes, key=lambda each: each.pid)) if processes and rng.random() < 0.5 else None
    try:
        if victim is None:
            running = sorted({stage(process.cmdline()) for process in processes})
            invocation.crash()
            return f"everything, during {' and '.join(running)}" if running else "Snakemake, which planned"
        command = victim.cmdline()
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    if not command:  # the process had just ended by itself
        return None
    return f"{'shell' if 'bash' in command[0] else 'process'} of {stage(command)}"


def stage(command: list[str]) -> str:
    """Return the script of a job's process."""
    script = re.search(r'(?:scripts|"\$SCRIPTS")/(\w+)\.py', " ".join(command))
    return script[1] if script else " ".join(command)[:40]
