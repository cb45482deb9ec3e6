"""What a case of the fuzz is, and what counts as a fault."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream

ACCEPTED, REFUSED = "accepted", "refused"


class Fault(Exception):
    """Something that users must not see; the message says what."""


class Case(NamedTuple):
    """One odd input, ready to be read."""

    what: str
    """It in words."""
    check: Callable[[], str]
    """Reads it and returns `ACCEPTED` or `REFUSED`. Raises `Fault`, or what the entry point raises beside its own."""


Make = Callable[[np.random.Generator, Path], Case]
"""Makes a case in an empty folder."""


def generator(kind: str, seed: int, number: int) -> np.random.Generator:
    """Return the stream that a case is drawn from, whatever was drawn before."""
    return stream(seed, "fuzz", kind, number)


def refusal(error: Exception, names: list[str]) -> str:
    """Return `REFUSED` for an error of ours that says which file or key is wrong.

    Raises
    ------
    Fault
        If the message names none, repeats numpy's advice to allow pickle, or is no sentence to be read.
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
    """Return one of the choices, as it is."""
    return choices[int(rng.integers(len(choices)))]


def put(what: str, path: Path) -> None:
    """Put a pipe or a link that leads nowhere in a file's place, or deep folders beside it, if that is asked for."""
    match what.removeprefix("a "):
        case "pipe":
            os.mkfifo(path)
        case "link to itself":
            path.symlink_to(path)
        case "dangling" | "dangling link":
            path.symlink_to(path.parent / "nowhere")
        case "deep folders":
            here = os.open(path.parent, os.O_RDONLY)
            for _ in range(1200):
                os.mkdir("d", dir_fd=here)
                here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
                os.close(above)
            os.close(here)


def damage(rng: np.random.Generator, path: Path) -> str:
    """Flip bits of a file, cut it off, or put something behind or into it; return what was done."""
    content = bytearray(path.read_bytes())
    how = choose(rng, "bits flipped", "cut off", "bytes behind", "zeros inside", "bytes inside")
    if how == "bits flipped":
        # where headers are, mostly
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
