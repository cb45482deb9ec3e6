"""The progress bar of trainings and solvers."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import Self

from tqdm import tqdm

from sdlcore.sparse.kernels.calling import announcing
from sdlcore.training.history import Row, Sink


class Bar:
    """Counts the steps of one run or several, which may train in threads.

    Parameters
    ----------
    steps
        Number of steps of each run.
    visible
        Whether to show the bar.
    """

    def __init__(self, steps: Sequence[int], visible: bool) -> None:
        self._bar = tqdm(total=sum(steps), unit="step", disable=not visible)
        self._lock, self._runs, self._finished = Lock(), len(steps), 0
        self._open = ExitStack()
        if visible:
            self._open.enter_context(announcing(partial(tqdm.write, file=sys.stderr)))

    def count_run(self) -> None:
        """Count a finished run."""
        with self._lock:
            self._finished += 1
            self._bar.set_description(f"{self._finished} of {self._runs} runs")

    def add(self, steps: int) -> None:
        """Count steps of any run."""
        with self._lock:
            self._bar.update(steps)

    def sink(self) -> Sink:
        """Return a sink of a run's history. For the only run, the bar also shows loss, FVU and L0 of the last row."""
        done = 0

        def show(rows: Sequence[Row]) -> None:
            nonlocal done
            if rows:
                step = int(rows[-1]["step"])
                if self._runs == 1:
                    values = {name: f"{rows[-1][name]:.4g}" for name in ("loss", "fvu", "l0")}
                    self._bar.set_postfix(values, refresh=False)
                self.add(step - done)
                done = step

        return show

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._bar.close()
