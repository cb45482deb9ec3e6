"""Show a training while it runs: in the log, in TensorBoard and at Weights & Biases, by callbacks of `sdlcore.fit`."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sdlcore.extras import extra
from sdlcore.sparse.kernels.calling import announcing

log = logging.getLogger(__name__)

Row = dict[str, float]
Callback = Callable[[Row], None]
RECENT = 10
"""Rows over which `progress` measures speed."""


@contextmanager
def progress(steps: int, earlier: int = 0) -> Iterator[Callback]:
    """Log one line per row of a training with ``steps`` steps, after its ``earlier`` steps in other processes.

    Speed is measured over the last `RECENT` rows of this process, because an earlier process may have run on another
    machine.
    """
    recent: deque[Row] = deque([{"step": 0, "samples": 0, "seconds": 0.0}], maxlen=RECENT)

    def write(row: Row) -> None:
        if row["step"] > earlier:
            log.info(progress_line(row, recent[0], steps))
        else:
            recent.clear()
        recent.append(row)

    with announcing(log.info):
        yield write


def progress_line(row: Row, since: Row, steps: int) -> str:
    """Format progress, losses, and the remaining time at the speed since an earlier row."""
    # a coarse clock may show no time for a tiny training
    seconds = max(row["seconds"] - since["seconds"], 1e-3)
    remaining_time = timedelta(seconds=round(seconds / (row["step"] - since["step"]) * (steps - row["step"])))
    speed = (row["samples"] - since["samples"]) / seconds
    return (
        f"step {row['step']:.0f}/{steps}  loss {row['loss']:.4f}  fvu {row['fvu']:.4f}  l0 {row['l0']:.1f}"
        f"  dead {row['dead_fraction']:.3f}  {speed:.0f} samples/s  {remaining_time} left"
    )


@contextmanager
def tensorboard(folder: str | Path, seconds: float = 0.0) -> Iterator[Callback]:
    """Write rows as TensorBoard event files into ``folder``, one file for each process that trained.

    Wall times exclude the pauses between processes: earlier processes trained for ``seconds``.

    Raises
    ------
    ModuleNotFoundError
        If tensorboardX is not installed.
    """
    with extra("tensorboard"):
        from tensorboardX import SummaryWriter

    began = time.time() - seconds
    # Purge and rewrite everything from earlier processes: some of it belongs to steps after the checkpoint, some may
    # have been lost with its process, and all of it is outdated if settings have changed since.
    writer = SummaryWriter(str(folder), purge_step=0, flush_secs=10)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, int(row["step"]), walltime=began + row["seconds"])

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def weights_and_biases(project: str, identity: str, folder: Path, settings: Mapping[str, Any]) -> Iterator[Callback]:
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
    settings
        Settings and seed, shown beside the rows.

    Raises
    ------
    ModuleNotFoundError
        If wandb is not installed.
    """
    with extra("wandb"):
        import wandb

    with wandb.init(resume="allow", project=project, id=identity, dir=str(folder), config=dict(settings)) as run:
        # wandb accepts each step once, in ascending order. Steps between the checkpoint and the end of the earlier
        # process are there already, with equal numbers, because a resume is exact.
        first = run.step

        def write(row: Row) -> None:
            if row["step"] >= first:
                run.log(row, step=int(row["step"]))

        yield write
