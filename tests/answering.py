"""A process with all imports of its tasks done, which forks for each request and answers line by line."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY


class Answering:
    """The client of such a process; subclasses define the requests.

    Parameters
    ----------
    arguments
        Arguments of Python. The program that they run prints ``ready`` first.
    environment
        Variables beside the ones of this process.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **environment},  # as the pipeline sets it
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def ask(self, line: str) -> str:
        """Send a line, and return the answer."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the process that starts others has died"
        return line.strip()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
