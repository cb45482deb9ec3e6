"""Run cases in a process that can be killed, each within a time limit, and record failures."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from tests.conftest import REPOSITORY

KINDS = ("images", "configurations", "dictionaries")
PATHS = os.pathsep.join(str(REPOSITORY / folder) for folder in ("src", "workflow", "."))
LIMIT = 10.0
"""Time limit for reading an input, in seconds."""
MAKING = 120.0
"""Time limit for creating an input, in seconds, including the import of all libraries."""


class Result(NamedTuple):
    """The outcome of one case."""

    kind: str
    seed: int
    number: int
    what: str
    outcome: str
    """accepted, refused, or fault."""
    why: str
    seconds: float

    def __str__(self) -> str:
        repeat = f"python -m tests.fuzz --seed {self.seed} --only {self.kind} {self.number}"
        return f"{self.kind} {self.number} ({self.what}): {self.why}\n    {repeat}"


class Worker:
    """The process. It is restarted after a case that crashed or blocked it."""

    def __init__(self, module: str = "tests.fuzz.worker", limit: float = LIMIT) -> None:
        self.module, self.limit = module, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, kind: str, seed: int, number: int) -> Result:
        """Create a case, read it, and return the outcome."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"kind": kind, "seed": seed, "number": number}).encode() + b"\n")
        self._process.stdin.flush()
        what, started = "not made", time.monotonic()
        try:
            what = json.loads(self._line(MAKING))["what"]
            started = time.monotonic()
            answer = json.loads(self._line(self.limit))
        except TimeoutError:
            answer = {"outcome": "fault", "why": f"took more than {self.limit:g} s"}
            self._end()
        except EOFError:
            code = self._process.wait()
            self._errors.seek(0)
            errors = self._errors.read()[-500:].decode(errors="replace")
            answer = {"outcome": "fault", "why": f"the process ended with {code}: {errors}"}
            self._end()
        seconds = time.monotonic() - started
        return Result(kind, seed, number, what, answer["outcome"], answer["why"], seconds)

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed at the end
        self._heard = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": PATHS, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._errors.close()
            self._process = None

    def _line(self, limit: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + limit
        while b"\n" not in self._heard:
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            heard = os.read(descriptor, 1 << 16)
            if not heard:
                raise EOFError
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        return line
