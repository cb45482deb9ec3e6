"""Start worker processes and talk to them."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]


class WorkerError(RuntimeError):
    """A library failed, or was not in the state to be measured; the message contains its own words."""


class Worker:
    """One process for one library. It is idle except during `ask`, and during the imports at its start."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by close
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", library, "--threads", str(threads)],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.send("versions")

    def send(self, do: str, **request: Any) -> None:
        """Send a request without waiting; `receive` returns the answer."""
        assert self._process.stdin is not None
        # if the process has ended, `receive` reports that with its output
        with suppress(BrokenPipeError):
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to the last request.

        Raises
        ------
        WorkerError
            If the library failed.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            code = self._process.wait()
            raise WorkerError(f"{self.library}: process ended with {code}\n{self._errors.read()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.library}: {answer['error']}")
        return answer

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self.send(do, **request)
        return self.receive()

    def close(self) -> None:
        """End the process and wait until it has ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


@contextmanager
def workers(libraries: Iterable[str], threads: int) -> Iterator[list[Worker]]:
    """Start one process per library, all at once. The first answer of each is its versions."""
    with ExitStack() as stack:
        started = []
        for library in libraries:
            worker = Worker(library, threads)
            stack.callback(worker.close)
            started.append(worker)
        yield started


T = TypeVar("T")
Case = TypeVar("Case")


class Team(Generic[Case]):
    """Cases and their processes. A case that fails leaves the team, and the others continue.

    Parameters
    ----------
    members
        The newly started process of each case.
    name
        Returns a case's name, for reports of failures.
    """

    def __init__(self, members: Mapping[Case, Worker], name: Callable[[Case], str]) -> None:
        self.members = dict(members)
        self.failed: dict[str, str] = {}
        """Causes of failures, by the case's name."""
        self.versions: dict[str, str] = {}
        self._name = name
        for versions in self.each(lambda case, worker: worker.receive()["versions"]).values():
            self.versions |= versions

    def each(self, do: Callable[[Case, Worker], T], order: Iterable[Case] | None = None) -> dict[Case, T]:
        """Call ``do`` with each remaining case in turn, and return the results."""
        done = {}
        for case in list(self.members) if order is None else order:
            if case in self.members:
                try:
                    done[case] = do(case, self.members[case])
                except (WorkerError, ValueError) as error:
                    log.error("failed: %s\n%s", self._name(case), error)
                    self.failed[self._name(case)] = str(error)
                    del self.members[case]
        return done


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: threads that wait without spinning, and no network access."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), str(ROOT / "workflow")]),
    }
