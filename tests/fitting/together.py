"""A script for several processes, which test_processes starts: two trainings, of which the second is resumed."""

import json
import os
import signal
import sys
from pathlib import Path

import sdlcore as sdl
from tests.fitting.test_fitting import QUIET, TOPK

BENCH = sdl.Bench.draw(seed=0, n=12, n_p=8, sparsity=0.85, max_interference=0.5)
X = BENCH.sample(3000)


def all_inputs(start: sdl.Dictionary) -> dict:
    return {"anchors": BENCH.anchors(3), "start": start, "watch": BENCH}


def main(folder: Path) -> None:
    """Train twice, the second time with an interruption; save what each process returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rank, rows = os.environ["RANK"], []
    start = sdl.fit(X, checkpoint_every=5, **TOPK, **QUIET)
    start.save(folder / f"start{rank}")

    def interrupt(row: dict) -> bool:
        rows.append(row["step"])
        if rows == [10]:
            signal.raise_signal(signal.SIGINT)
        return row["step"] == 20

    several = {"out": folder / "run", "callbacks": [interrupt], "normalise": True}
    several |= {**all_inputs(start), **TOPK, "device": "cpu"}
    try:
        sdl.fit(X, **several)
    except KeyboardInterrupt as error:
        (folder / f"interrupted{rank}").write_text(str(error))
    sdl.fit(X, **several).save(folder / f"resumed{rank}")
    (folder / f"rows{rank}.json").write_text(json.dumps(rows))
    sdl.fit(X, **several).save(folder / f"opened{rank}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
