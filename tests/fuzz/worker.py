"""The process that reads odd inputs, which may crash or block it: a line of JSON in, two lines out.

    python -m tests.fuzz.worker

In: kind, seed and number of a case. Out: its description, once it is made, and the outcome of reading it.
"""

import contextlib
import importlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.cases import Fault, generator

MEMORY = 6 << 30
"""Memory limit of the process in bytes: an input that needs more ends in an error, not in swapping."""


def run(kind: str, seed: int, number: int, on_case) -> dict[str, str]:
    """Make a case, print its description, and return the outcome and its cause."""
    make = importlib.import_module(f"tests.fuzz.{kind}").make
    with scratch() as folder:
        case = make(generator(kind, seed, number), folder)
        on_case(case.what)
        try:
            with warnings.catch_warnings(), np_errors():
                warnings.simplefilter("ignore")
                return {"outcome": case.check(), "why": ""}
        except Fault as fault:
            return {"outcome": "fault", "why": str(fault)}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            bare = f"bare {type(error).__name__}: {str(error)[:500]} ({Path(where.filename).name}:{where.lineno})"
            return {"outcome": "fault", "why": bare}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder, and remove it with its content, also very deep folders that Python's rmtree cannot."""
    folder = tempfile.mkdtemp(prefix="sdlcore-fuzz-")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


@contextlib.contextmanager
def np_errors() -> Iterator[None]:
    """Silence numpy's warnings in the tested code, for example about overflow."""
    import numpy as np

    with np.errstate(all="ignore"):
        yield


def main() -> None:
    # libraries may print to stdout, which must not mix with answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

    def answer(content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    for line in sys.stdin:
        answer(run(**json.loads(line), on_case=lambda what: answer({"what": what})))


if __name__ == "__main__":
    main()
