"""Thirty minutes on a GPU, the most valuable measurements first: `make gpu-study`.

Each step runs in a process of its own, with a time limit, and writes its results at once. A call starts steps until its
own time is spent; the next call skips the steps that passed at this commit and continues. So a machine that is lent
for ten minutes at a time completes the study in three or four calls. `--device cpu --tiny` runs every step on a CPU at
small sizes, with Triton's kernels interpreted.

    make gpu-study                                # on a GPU; no network, nothing is installed
    make gpu-study ARGS="--only memory"           # one step again
    make gpu-study ARGS="--device cpu --tiny"     # a rehearsal: about three minutes

Results: benchmarks/results/gpu/CARD/ with study.csv (state of each step) and a CSV table for each measurement.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.results import Row, read, to_csv
from sdlcore.storage.files import atomic_path

log = logging.getLogger("benchmarks.gpu_study")

ROOT = Path(__file__).parents[1]
SECONDS = 540
"""Time of one call, so that it ends within ten minutes."""
LEAST = 30
"""A step is not started with fewer seconds left."""
COLUMNS = ("step", "state", "seconds", "commit", "date", "detail")


@dataclass(frozen=True)
class Step:
    """One measurement: its name, the question that it answers, its time limit in seconds, and its command."""

    name: str
    question: str
    seconds: float
    command: tuple[str, ...]
    """Arguments for Python. ``{folder}``, ``{device}`` and ``{seconds}`` are filled in."""
    tiny: tuple[str, ...]
    """Arguments to add for a rehearsal."""


def _measure(name: str, question: str, seconds: float) -> Step:
    command = ("-m", "benchmarks.gpu_measures", name, "--device", "{device}", "--folder", "{folder}")
    return Step(name, question, seconds, command, ("--tiny",))


STEPS = (
    Step(
        "kernels",
        "Do the compiled kernels compute what float64 products give?",
        540,
        ("-m", "benchmarks.gpu_tests", "-q", "-x", "-p", "no:cacheprovider"),
        ("-k", "float64 or room"),
    ),
    _measure("equality", "Does training on the GPU follow training on the CPU?", 240),
    Step(
        "steps",
        "How long is a training step, beside sparsify, SAELens and dictionary_learning?",
        420,
        ("-m", "benchmarks.gpu", "--device", "{device}", "--seconds", "{seconds}", "--results", "{folder}"),
        ("--tiny",),
    ),
    _measure("memory", "How much memory does training take at 4096 x 131,072, by batch size?", 240),
    _measure("table1", "What does TopK recover at the scale of Table 1, in how many seconds?", 300),
    _measure("extraction", "How many tokens a second does extraction read, and what share of it is the model?", 180),
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_study", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a rehearsal")
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help="run these again: " + ", ".join(names))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of this call (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results/gpu/CARD)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Run the steps that are missing, as far as the time goes.

    Raises
    ------
    SystemExit
        If torch finds no GPU, or, after the last step, if a step failed.
    """
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; --device cpu --tiny rehearses the study on a CPU")
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    folder = options.results or Path(__file__).parent / "results/gpu" / re.sub(r"[^a-z0-9]+", "-", card.lower())
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.seconds
    states = study(folder, options, ends)
    for step in STEPS:
        row = states.get(step.name)
        log.info("%-12s %s", step.name, f"{row['state']}, {row['seconds']} s {row['detail']}" if row else "not run yet")
    if any(row["state"] == "failed" for row in states.values()):
        sys.exit(f"a step failed; its output is in {folder}/STEP.log")


def study(folder: Path, options: argparse.Namespace, ends: float) -> dict[str, Row]:
    """Run steps until the time ends, and return the state of each that has run; study.csv follows every step."""
    commit = machine.commit()
    path = folder / "study.csv"
    states: dict[str, Row] = {str(row["step"]): row for row in read(path)} if path.exists() else {}
    for step in STEPS:
        done = states.get(step.name, {})
        if options.only:
            if step.name not in options.only:
                continue
        elif done.get("state") == "passed" and done.get("commit") == commit:
            continue
        left = ends - time.monotonic()
        if left < LEAST:
            break
        log.info("%s: %s", step.name, step.question)
        states[step.name] = {"step": step.name, "commit": commit, **run(step, folder, options, min(left, step.seconds))}
        with atomic_path(path) as part:
            part.write_text(to_csv([states[each.name] for each in STEPS if each.name in states], COLUMNS))
    return states


def run(step: Step, folder: Path, options: argparse.Namespace, seconds: float) -> Row:
    """Run one step, write its output to STEP.log, and return its state: passed, failed or out of time."""
    filled = {"folder": str(folder), "device": options.device, "seconds": str(max(1.0, seconds - 10))}
    arguments = [part.format(**filled) for part in (*step.command, *(step.tiny if options.tiny else ()))]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), str(ROOT / "src"), str(ROOT / "workflow"), os.environ.get("PYTHONPATH", "")]
    )
    if options.device == "cpu":
        environment["TRITON_INTERPRET"] = "1"
    started = time.monotonic()
    with (folder / f"{step.name}.log").open("w") as output:
        try:
            process = subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=seconds
            )
            state = "failed" if process.returncode else "passed"
        except subprocess.TimeoutExpired:
            state = "out of time"
    lines = (folder / f"{step.name}.log").read_text(errors="replace").strip().splitlines()
    # pytest's summary, since libraries may write more when they unload
    lines = [line for line in lines if re.search(r"\d (?:passed|failed)", line)] or lines
    return {
        "state": state,
        "seconds": round(time.monotonic() - started),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "detail": lines[-1].strip("= ")[:200] if lines else "",
    }


if __name__ == "__main__":
    main(sys.argv[1:])
