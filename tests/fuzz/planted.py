"""Cases with each outcome that the fuzz distinguishes, to test the fuzz itself."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from sdlcore.errors import SourceError
from tests.fuzz.cases import ACCEPTED, Case, Fault, choose, refusal


def make(rng: np.random.Generator, folder: Path) -> Case:
    what: str = choose(rng, "accepted", "refused", "nameless", "advice", "bare", "wrong", "hangs", "crashes", "eats")
    return Case(what, lambda: _end(what))


def _end(what: str) -> str:
    match what:
        case "refused":
            return refusal(SourceError("x.npy: of no known format"), ["x.npy"])
        case "nameless":
            return refusal(SourceError("of no known format"), ["x.npy"])
        case "advice":
            return refusal(SourceError("x.npy: set allow_pickle"), ["x.npy"])
        case "bare":
            raise RecursionError("too deep")
        case "wrong":
            raise Fault("reads 3, a plain reader has 4")
        case "hangs":
            time.sleep(60)
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "eats":
            np.ones(1 << 40)
    return ACCEPTED
