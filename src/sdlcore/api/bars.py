"""Progress bars of trainings and solvers."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Self

from tqdm import tqdm

from sdlcore.sparse.kernels.calling import announcing
from sdlcore.training.history import Row, Sink


@contextmanager
def bar(steps: int) -> Iterator[Sink]:
    """Yield a sink that shows a progress bar with the loss, FVU and L0 of the last row."""
    with ExitStack() as stack:
        progress: tqdm | None = None
        start = 0

        def show(rows: Sequence[Row]) -> None:
            nonlocal progress, start
            step = int(rows[-1]["step"]) if rows else 0
            if progress is None:  # the training starts, or resumes after these rows
                start = step
                progress = stack.enter_context(tqdm(total=steps, initial=step, unit="step"))
                stack.enter_context(announcing(partial(tqdm.write, file=sys.stderr)))
                return
            progress.set_postfix({name: f"{rows[-1][name]:.4g}" for name in ("loss", "fvu", "l0")}, refresh=False)
            if progress.n == start:  # the first row includes the compilation of kernels, so the rate leaves it out
                progress.initial = progress.n = step
                progress.unpause()
                progress.refresh()
            else:
                progress.update(step - progress.n)

        yield show


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

    def sink(self) -> Sink:
        """Return a sink that adds the steps of one run to the bar."""
        steps = 0

        def show(rows: Sequence[Row]) -> None:
            nonlocal steps
            if rows:
                self.add(int(rows[-1]["step"]) - steps)
                steps = int(rows[-1]["step"])

        return show

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._bar.close()
