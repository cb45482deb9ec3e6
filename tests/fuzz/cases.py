"""A case of the fuzz, and the definition of a fault."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream

ACCEPTED, REFUSED = "accepted", "refused"


class Fault(Exception):
    """A behaviour that users must not see; the message describes it."""


class Case(NamedTuple):
    """One odd input, ready to be read."""

    what: str
    """Description."""
    check: Callable[[], str]
    """Reads it and returns `ACCEPTED` or `REFUSED`. Raises `Fault`, or any unexpected error of the entry point."""


Make = Callable[[np.random.Generator, Path], Case]
"""Creates a case in an empty folder."""


def generator(kind: str, seed: int, number: int) -> np.random.Generator:
    """Return the random generator of a case, independent of earlier cases."""
    return stream(seed, "fuzz", kind, number)


def refusal(error: Exception, names: list[str]) -> str:
    """Return `REFUSED` for an error of sdlcore that names the wrong file or key.

    Raises
    ------
    Fault
        If the message names none, repeats numpy's advice to allow pickle, or is not readable.
    """
    text = str(error)
    if not any(name in text for name in names):
        raise Fault(f"an error names none of {names}: {text[:500]!r}")
    if "allow_pickle" in text or "Traceback" in text:
        raise Fault(f"an error gives away what is no advice: {text[:500]!r}")
    if len(text) > 3000:
        raise Fault(f"an error of {len(text)} letters: {text[:200]!r}")
    return REFUSED


def choose(rng: np.random.Generator, *choices):
    """Return one of the choices, without conversion."""
    return choices[int(rng.integers(len(choices)))]


def put(what: str, path: Path) -> None:
    """Replace a file by a pipe or a dangling link, if ``what`` demands it."""
    match what.removeprefix("a "):
        case "pipe":
            os.mkfifo(path)
        case "link to itself":
            path.symlink_to(path)
        case "dangling" | "dangling link":
            path.symlink_to(path.parent / "nowhere")


def damage(rng: np.random.Generator, path: Path) -> str:
    """Flip bits of a file, truncate it, or insert or append bytes; return a description."""
    content = bytearray(path.read_bytes())
    how = choose(rng, "bits flipped", "cut off", "bytes behind", "zeros inside", "bytes inside")
    if how == "bits flipped":
        # mostly within headers
        end = len(content) if rng.random() < 0.3 else min(len(content), 400)
        for at in rng.integers(max(end, 1), size=int(rng.integers(1, 9))):
            if at < len(content):
                content[at] ^= 1 << int(rng.integers(8))
    elif how == "cut off":
        del content[int(rng.integers(len(content) + 1)) :]
    elif how == "bytes behind":
        content += rng.bytes(int(rng.integers(1, 100)))
    else:
        at = int(rng.integers(len(content) + 1))
        new = bytes(20) if how == "zeros inside" else rng.bytes(20)
        content[at : at + (20 if rng.random() < 0.5 else 0)] = new
    path.write_bytes(content)
    return how
