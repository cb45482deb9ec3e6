"""Record the history of a training, and send its rows to CSV, TensorBoard or Weights & Biases as they come.

A sink is a function of the previous rows (none, or the rows of the resumed checkpoint). It returns a context
manager, which yields a function that takes the next row. A sink starts from the previous rows, whatever an earlier
process wrote, so a resumed training shows what an uninterrupted one would have. To add a sink, add a function here.
"""

import csv
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdlcore.extras import extra
from sdlcore.run import RunConfig
from sdlcore.sparse.kernels.compiling import announcing
from sdlcore.storage.files import naming_a_full_disk

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

Row = dict[str, float]
Write = Callable[[Row], None]
Sink = Callable[[Sequence[Row]], AbstractContextManager[Write]]
Watch = Callable[[Mapping[str, "Tensor"]], Row]
"""Takes ``encoder`` and ``decoder`` rows for raw activations; returns further entries for a history row."""


class History:
    """The rows of one training; each is sent to every sink as it is added.

    Use it as a context manager around the training. It opens all sinks on entry and closes them on exit, where they
    learn of any exception.

    Parameters
    ----------
    rows
        Rows of the checkpoint that is resumed.
    sinks
        Receivers of rows, e.g. ``partial(csv_file, path)``. The last sink is closed first.

    Attributes
    ----------
    rows
        All rows.
    """

    def __init__(self, rows: Sequence[Row] = (), sinks: Sequence[Sink] = ()) -> None:
        self.rows = list(rows)
        self._sinks = sinks
        self._writes: list[Write] = []
        self._open = ExitStack()

    def add(self, row: Row) -> None:
        """Append a row and send it to the sinks.

        Raises
        ------
        ValueError
            If its keys differ from the keys of earlier rows: a table needs a single header.
        """
        if self.rows and row.keys() != self.rows[0].keys():
            expected, found = sorted(self.rows[0]), sorted(row)
            raise ValueError(f"history row: found keys {found}, expected the keys of earlier rows: {expected}")
        self.rows.append(row)
        for write in self._writes:
            write(row)

    def __enter__(self) -> "History":
        with ExitStack() as stack:  # if one sink fails to open, close the open ones
            self._writes = [stack.enter_context(sink(self.rows)) for sink in self._sinks]
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        self._writes = []
        return self._open.__exit__(*error)


@contextmanager
def csv_file(path: str | Path, rows: Sequence[Row]) -> Iterator[Write]:
    """Write rows as CSV to ``<stem>.part<suffix>`` beside ``path``, which replaces ``path`` when training ends.

    The working file can be watched during the training, and remains if the training fails.
    """
    path = Path(path)
    # not atomic_path, whose temporary name is hidden and random: a watcher needs a stable one
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    with csv_rows(part, rows, path) as write:
        yield write
    part.replace(path)


@contextmanager
def csv_rows(path: Path, rows: Sequence[Row], named: Path | None = None) -> Iterator[Write]:
    """Write rows as CSV, flushed row by row. The file is removed if an error comes before its first row.

    Errors of a full disk name ``named``, or ``path`` if it is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # another user may have put a link there, and mode "x" does not follow links
    with naming_a_full_disk(named or path), path.open("x", newline="", encoding="utf-8") as file:
        table: csv.DictWriter[str] = csv.DictWriter(file, (), lineterminator="\n")

        def write(row: Row) -> None:
            if not table.fieldnames:
                table.fieldnames = list(row)
                table.writeheader()
            table.writerow(row)
            file.flush()

        try:
            for row in rows:
                write(row)
            yield write
        except BaseException:
            if not table.fieldnames:
                path.unlink(missing_ok=True)
            raise
        os.fsync(file.fileno())


def read_history(path: str | Path) -> list[Row]:
    """Read the history of a training from its CSV file.

    Raises
    ------
    ValueError
        If the file is not a history; the message names it.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        try:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a history ({error})") from error


RECENT = 10
"""Rows over which `progress` measures speed."""


@contextmanager
def progress(steps: int, rows: Sequence[Row]) -> Iterator[Write]:
    """Log one line per row of a training with ``steps`` steps.

    Speed is measured over the last `RECENT` rows of this process, because an earlier process may have run on another
    machine.
    """
    recent = deque([rows[-1] if rows else {"step": 0, "samples": 0, "seconds": 0.0}], maxlen=RECENT)

    def write(row: Row) -> None:
        log.info(progress_line(row, recent[0], steps))
        recent.append(row)

    with announcing(log.info):
        yield write


def progress_line(row: Row, since: Row, steps: int) -> str:
    """Format progress, losses, and the remaining time at the speed since an earlier row."""
    # a coarse clock may show no time for a tiny training
    seconds = max(row["seconds"] - since["seconds"], 1e-3)
    left = timedelta(seconds=round(seconds / (row["step"] - since["step"]) * (steps - row["step"])))
    speed = (row["samples"] - since["samples"]) / seconds
    return (
        f"step {row['step']:.0f}/{steps}  loss {row['loss']:.4f}  fvu {row['fvu']:.4f}  l0 {row['l0']:.1f}"
        f"  dead {row['dead_fraction']:.3f}  {speed:.0f} samples/s  {left} left"
    )


@contextmanager
def tensorboard(folder: str | Path, rows: Sequence[Row]) -> Iterator[Write]:
    """Write rows as TensorBoard event files into ``folder``, one file for each process that trained.

    Wall times exclude the pauses between processes.

    Raises
    ------
    ModuleNotFoundError
        If tensorboardX is not installed.
    """
    with extra("tensorboard"):
        from tensorboardX import SummaryWriter

    began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
    # Purge and rewrite everything from earlier processes: some of it belongs to steps after the checkpoint, some may
    # have been lost with its process, and all of it is outdated if settings have changed since.
    writer = SummaryWriter(str(folder), purge_step=0, flush_secs=10)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, int(row["step"]), walltime=began + row["seconds"])

    try:
        for row in rows:
            write(row)
        yield write
    finally:
        writer.close()


@contextmanager
def weights_and_biases(
    project: str, identity: str, folder: Path, config: RunConfig, seed: int, rows: Sequence[Row]
) -> Iterator[Write]:
    """Send rows to Weights & Biases.

    wandb's own environment variables (WANDB_MODE, WANDB_API_KEY and so on) decide where and whether it sends.

    Parameters
    ----------
    project
        The project's name.
    identity
        Identity of the training, so that a resumed training continues the same run.
    folder
        Folder for wandb's own files.
    config, seed
        Settings and seed, shown beside the rows.
    rows
        Previous rows; rows that the run already contains are not sent again.

    Raises
    ------
    ModuleNotFoundError
        If wandb is not installed.
    """
    with extra("wandb"):
        import wandb

    settings = config.to_dict() | {"seed": seed}
    with wandb.init(resume="allow", project=project, id=identity, dir=str(folder), config=settings) as run:
        # wandb accepts each step once, in ascending order. Steps between the checkpoint and the end of the earlier
        # process are there already, with equal numbers, because a resume is exact.
        first = run.step

        def write(row: Row) -> None:
            if row["step"] >= first:
                run.log(row, step=int(row["step"]))

        for row in rows:
            write(row)
        yield write
