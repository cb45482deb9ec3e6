"""Why does refinement lower F1 at 1,024 features? Leave out its steps, one by one.

    python -m examples.rows_and_codes.causes --seeds 100 101 102 103 104

It needs SAELens, whose evaluator judges (`make peers`). Scores go to ``docs/results/posterior/causes.csv``.
"""

import argparse
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from torch import Tensor

import sdlcore as sdl
from examples.rows_and_codes.codes import Coded
from examples.rows_and_codes.runs import Rows, finished, scores, write
from sdlcore.training import refinement

TABLE = Path("docs/results/posterior/causes.csv")


class Steps(NamedTuple):
    """The steps of a refinement that run."""

    mean_shift: bool
    refit: bool
    parents: bool


CASES = {
    "trained": None,
    "mean shift": Steps(True, False, False),
    "mean shift, refit": Steps(True, True, False),
    "mean shift, refit, parents removed": Steps(True, True, True),
    "refit": Steps(False, True, False),
    "refit, parents removed": Steps(False, True, True),
}


def refined(dictionary: sdl.Dictionary, x: Callable[[int], Tensor], steps: Steps) -> sdl.Dictionary:
    """Return `sdl.refine` of a dictionary without some of its steps."""
    replaced: dict[str, Any] = {}
    if not steps.mean_shift:
        replaced["mean_shift"] = lambda residuals_BR, *_: residuals_BR[:0]
    if not steps.refit:
        replaced["_refit_all"] = lambda latents, *_: latents
    if not steps.parents:
        replaced["_without_parents"] = lambda rows_QR, _: rows_QR
    with patch.multiple(refinement, **replaced) if replaced else nullcontext():
        return sdl.refine(dictionary, x, rounds=10, progress=False)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=Path("results/rows_and_codes"))
    parser.add_argument("--table", type=Path, default=TABLE)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for seed in arguments.seeds:
        rows = Rows("small", seed, arguments.folder)
        posterior = sdl.search(rows.dictionary("ours"), rows.samples(2), progress=False)
        done = finished(arguments.table)
        for name, steps in CASES.items():
            if ("small", seed, name, "posterior") not in done:
                changed = posterior if steps is None else refined(posterior, rows.samples(1), steps)
                write(arguments.table, ("small", seed, name), "posterior", scores(rows, Coded.from_dictionary(changed)))


if __name__ == "__main__":
    main()
