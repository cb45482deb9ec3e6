"""The progress bar of trainings and solvers."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from tqdm import tqdm

from sdlcore.sparse.kernels.calling import announcing
from sdlcore.training.history import Row, Sink


@contextmanager
def progress_bar(steps: int, visible: bool) -> Iterator[tqdm]:
    """Count the steps of one run or several. Messages about the compilation of kernels appear above the bar."""
    with tqdm(total=steps, unit="step", disable=not visible) as bar, ExitStack() as opened:
        if visible:
            opened.enter_context(announcing(partial(tqdm.write, file=sys.stderr)))
        yield bar


def shown_on(bar: tqdm, only: bool = True) -> Sink:
    """Return a function that gets new rows of a run's history and moves the bar to their step.

    Runs in several threads may share a bar. If ``only``, the bar has one run and also shows loss, FVU and L0.
    """
    done = 0

    def show(rows: Sequence[Row]) -> None:
        nonlocal done
        if not rows:
            return
        with bar.get_lock():
            if only:
                values = {name: f"{rows[-1][name]:.4g}" for name in ("loss", "fvu", "l0")}
                bar.set_postfix(values, refresh=False)
            bar.update(int(rows[-1]["step"]) - done)
        done = int(rows[-1]["step"])

    return show
