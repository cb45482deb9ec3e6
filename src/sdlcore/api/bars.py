"""Progress bars of trainings and solvers."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Self

from tqdm import tqdm

from sdlcore.sparse.kernels.calling import announcing
from sdlcore.training.history import Row, Write


@contextmanager
def bar(steps: int, rows: Sequence[Row]) -> Iterator[Write]:
    """Show a progress bar with the loss, FVU and L0 of the last row; a sink for a training history."""
    start = int(rows[-1]["step"]) if rows else 0
    with tqdm(total=steps, initial=start, unit="step") as progress, announcing(partial(tqdm.write, file=sys.stderr)):

        def write(row: Row) -> None:
            progress.set_postfix({name: f"{row[name]:.4g}" for name in ("loss", "fvu", "l0")}, refresh=False)
            if progress.n == start:  # the first row includes the compilation of kernels, so the rate leaves it out
                progress.initial = progress.n = int(row["step"])
                progress.unpause()
                progress.refresh()
            else:
                progress.update(int(row["step"]) - progress.n)

        yield write


class SweepBar:
    """A progress bar for several runs: counts the steps of all runs, and finished runs."""

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

    @contextmanager
    def sink(self, rows: Sequence[Row]) -> Iterator[Write]:
        """Add the steps of one run to the bar; a sink for its history."""
        steps = 0

        def write(row: Row) -> None:
            nonlocal steps
            self.add(int(row["step"]) - steps)
            steps = int(row["step"])

        for row in rows[-1:]:
            write(row)
        yield write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._bar.close()
