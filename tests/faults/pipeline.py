"""A pipeline to inject faults into: it runs Snakemake in a session of its own, and compares the results."""

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path

import psutil
import yaml

from tests.conftest import REPOSITORY
from tests.stores import contents, verify
from tests.workflow.conftest import Checkout

CONFIGURATION = os.environ.get("FAULTS_CONFIGURATION", "tiny")
"""Name of the configuration in `config/` that is run."""
NAME = yaml.safe_load((REPOSITORY / f"config/{CONFIGURATION}.yaml").read_text())["name"]
RESULTS, LOGS = Path(f"results/{NAME}"), Path(f"logs/{NAME}")
TIMED = (
    *(f"figures/{name}.{kind}" for name in ("training", "convergence") for kind in ("png", "pdf")),
    *("report.html", "tables/solvers.md"),
)
"""Names that show how long trainings took."""
SECONDS = ("history.csv", "solvers.csv", "convergence.csv")
"""Files with such a column."""


class Invocation:
    """Snakemake in the background, with its jobs in one session and its output in a file."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.log = folder / "snakemake.out"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        command += ["--configfile", f"config/{CONFIGURATION}.yaml"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end, at most for so many seconds; return whether it came."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def processes(self) -> list[psutil.Process]:
        """Return the living processes of its jobs, including orphans."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                mine = process.pid != self.process.pid and os.getsid(process.pid) == self.process.pid
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return processes

    def crash(self) -> None:
        """End it and all of its jobs at once, like a crash of the machine."""
        with contextlib.suppress(ProcessLookupError):  # it had just ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while self.processes():
            time.sleep(0.01)

    def output(self) -> str:
        return self.log.read_text()

    def finish(self) -> str:
        """Wait for the end, require success, and return the output."""
        assert self.process.wait() == 0, self.output()
        return self.output()

    def fail(self) -> str:
        """Wait for the end, require a failure, and return the output."""
        assert self.process.wait() != 0, self.output()
        return self.output()


class Pipeline(Checkout):
    """A checkout whose runs are disturbed. It shares downloads with the repository."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        (REPOSITORY / "cache").mkdir(exist_ok=True)
        (path / "cache").symlink_to(REPOSITORY / "cache")
        self.invocations: list[Invocation] = []

    def start(self, *arguments: str, **variables: str) -> Invocation:
        """Start Snakemake, with more variables in its environment."""
        self.invocations.append(Invocation(self.path, *arguments, **variables))
        return self.invocations[-1]

    def unlock(self) -> None:
        """Unlock the folder as docs/pipeline.md describes after a kill of Snakemake."""
        self.start("--unlock").finish()

    def clear(self) -> None:
        """Remove all results."""
        for part in ("results", "logs", ".snakemake"):
            shutil.rmtree(self.path / part, ignore_errors=True)

    def settle(self) -> None:
        """Wait for jobs that outlived their shells."""
        while any(invocation.processes() for invocation in self.invocations):
            time.sleep(0.1)

    def end(self) -> None:
        """End all remaining processes."""
        for invocation in self.invocations:
            if invocation.process.poll() is None or invocation.processes():
                invocation.crash()

    def take(self, other: "Pipeline") -> "Pipeline":
        """Copy the state of another pipeline, with the times of its files."""
        for part in ("results", "logs", ".snakemake"):
            shutil.copytree(other.path / part, self.path / part)
        return self

    def results(self) -> dict[str, object]:
        """Return all visible results: bytes, except for stores and for values that depend on time."""
        results: dict[str, object] = {}
        for file in sorted((self.path / RESULTS).rglob("*")):
            name = str(file.relative_to(self.path / RESULTS))
            hidden = any(part.startswith(".") for part in Path(name).parts)
            if not file.is_file() or hidden or file.parent.name == "tensorboard":
                continue
            if file.name in SECONDS:
                with file.open() as rows:
                    results[name] = [{**row, "seconds": None} for row in csv.DictReader(rows)]
            elif file.suffix == ".h5":
                # a resumed store holds the same data at other positions of the file
                verify(file)
                results[name] = contents(file)
            else:
                results[name] = file.stat().st_size > 0 if name in TIMED else file.read_bytes()
        return results

    def assert_same(self, other: dict[str, object], missing: Container[str] = ()) -> None:
        """Compare results with another run's, some of whose files may be missing; name the files that differ."""
        results = self.results()
        names = {name for name in results.keys() | other.keys() if results.get(name) != other.get(name)}
        wrong = [name for name in sorted(names) if name in results or name not in missing]
        assert not wrong, f"other files than without faults: {wrong}"

    def seconds_of_jobs(self) -> dict[str, float]:
        """Return the duration of each finished job, from its benchmark file."""
        seconds = {}
        for file in (self.path / LOGS).rglob("*.tsv"):
            with file.open() as rows:
                seconds[str(file.relative_to(self.path))] = sum(
                    float(row["s"]) for row in csv.DictReader(rows, delimiter="\t")
                )
        return seconds
