"""Record the history of a training, and send its rows to CSV, TensorBoard or Weights & Biases as they come.

A sink is a function that takes the rows so far (none, or those of the checkpoint that training goes on from) and gives
a context manager, which gives a function that takes the next row. It starts from those rows, whatever an earlier
process wrote, so that after a resume it shows what an uninterrupted training would have. Adding one is a function here.
"""

import csv
import importlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
"""Tells more of ``encoder`` rows and ``decoder`` rows of raw activations, for a row of the history."""


class History:
    """The rows of one training; each is sent to every sink as it is added.

    Use as a context manager around the training: sinks are opened at its beginning and closed at its end, and learn
    there whether training ended well.

    Parameters
    ----------
    rows
        Those of the checkpoint that training goes on from.
    sinks
        Where rows go, e.g. ``partial(csv_file, path)``. The last is closed first.

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
        """Keep a row and send it to the sinks.

        Raises
        ------
        ValueError
            If its keys are not those of the rows before: a table has one header.
        """
        if self.rows and row.keys() != self.rows[0].keys():
            expected, found = sorted(self.rows[0]), sorted(row)
            raise ValueError(f"a row of the history has keys {found}, expected those of the rows before: {expected}")
        self.rows.append(row)
        for write in self._writes:
            write(row)

    def __enter__(self) -> "History":
        with ExitStack() as stack:  # closes those that are open already where one cannot be opened
            self._writes = [stack.enter_context(sink(self.rows)) for sink in self._sinks]
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        self._writes = []
        return self._open.__exit__(*error)


@contextmanager
def csv_file(path: str | Path, rows: Sequence[Row]) -> Iterator[Write]:
    """Write rows as CSV: into ``<stem>.part<suffix>`` beside ``path`` row by row, moved onto it when training ends.

    The working file can be watched, and stays where training does not end.
    """
    path = Path(path)
    # not atomic_path, whose name is hidden and random: whoever watches needs one that stays
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    with csv_rows(part, rows, path) as write:
        yield write
    part.replace(path)


@contextmanager
def csv_rows(path: Path, rows: Sequence[Row], named: Path | None = None) -> Iterator[Write]:
    """Write rows as CSV, row by row, into a file that can be watched. One that gets no row before an error is removed.

    Errors of a full disk name ``named``, else ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # another user may have put a link there, and "x" follows none
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
        If the file is no history; the message names it.
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
    """Log a line a row, of a training of ``steps`` steps.

    Speed is that of the last `RECENT` rows of this process, since another one may have run on another machine.
    """
    recent = deque([rows[-1] if rows else {"step": 0, "samples": 0, "seconds": 0.0}], maxlen=RECENT)

    def write(row: Row) -> None:
        log.info(progress_line(row, recent[0], steps))
        recent.append(row)

    with announcing(log.info):
        yield write


def progress_line(row: Row, since: Row, steps: int) -> str:
    """Say how far training is, how well it goes, and how long the rest takes at the speed since an earlier row."""
    # a clock too coarse for a tiny training is no reason to divide by zero
    seconds = max(row["seconds"] - since["seconds"], 1e-3)
    left = timedelta(seconds=round(seconds / (row["step"] - since["step"]) * (steps - row["step"])))
    speed = (row["samples"] - since["samples"]) / seconds
    return (
        f"step {row['step']:.0f}/{steps}  loss {row['loss']:.4f}  fvu {row['fvu']:.4f}  l0 {row['l0']:.1f}"
        f"  dead {row['dead_fraction']:.3f}  {speed:.0f} samples/s  {left} left"
    )


@contextmanager
def tensorboard(folder: str | Path, rows: Sequence[Row]) -> Iterator[Write]:
    """Write rows as TensorBoard event files into ``folder``, one for each process that trained.

    Times are those of training, without the pauses between processes.

    Raises
    ------
    ModuleNotFoundError
        If tensorboardX is not installed.
    """
    summary = _package("tensorboardX", "tensorboardX")
    began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
    # All that earlier processes wrote is purged and written again: some of it belongs to steps after the checkpoint,
    # some may have been lost with its process, and all of it where settings have changed since.
    writer = summary.SummaryWriter(str(folder), purge_step=0, flush_secs=10)

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

    Where and whether to send is said by the variables WANDB_MODE, WANDB_API_KEY and so on.

    Parameters
    ----------
    project
        Where to.
    identity
        The training's own, so that a resumed one goes on in the same run.
    folder
        For wandb's own files.
    config, seed
        Shown beside the rows.
    rows
        Rows so far; those that the run has already are not sent again.

    Raises
    ------
    ModuleNotFoundError
        If wandb is not installed.
    """
    wandb = _package("wandb", "sdlcore[wandb]")
    settings = config.to_dict() | {"seed": seed}
    with wandb.init(resume="allow", project=project, id=identity, dir=str(folder), config=settings) as run:
        # A step can be logged only once, and later ones only after it. Those between the checkpoint and the end of the
        # process before are there already, with equal numbers, since a resume is exact.
        first = run.step

        def write(row: Row) -> None:
            if row["step"] >= first:
                run.log(row, step=int(row["step"]))

        for row in rows:
            write(row)
        yield write


def _package(name: str, requirement: str) -> Any:
    """Import a package that only some trainings need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(
            f"{name} was asked for but is not installed; install it with: pip install '{requirement}'", name=name
        ) from error
