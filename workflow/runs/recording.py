"""Show a training while it runs: in the log, in TensorBoard and at Weights & Biases."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from runs.folder import Run, Training
from sdlcore.extras import extra

log = logging.getLogger(__name__)


@contextmanager
def recorder(
    run: Run, training: Training, settings: Mapping[str, Any], made: Mapping[str, Any]
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Yield a callback of `sdlcore.fit` that logs each row of the history, and sends it where ``training`` says.

    A resumed training passes the rows of earlier processes again. They replace those in TensorBoard; Weights & Biases
    takes each step once, and equal numbers are there already. ``made``, the run's identity, names the run there.
    """
    with ExitStack() as opened:
        writer, remote = None, None
        if training.tensorboard:
            with extra("tensorboard"):
                from tensorboardX import SummaryWriter
            writer = opened.enter_context(SummaryWriter(str(training.tensorboard), purge_step=0, flush_secs=10))
        if training.wandb:
            with extra("wandb"):
                import wandb
            name = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]
            facts = {"project": training.wandb, "id": name, "dir": str(run.out), "config": dict(settings)}
            remote = opened.enter_context(wandb.init(resume="allow", **facts))
            first = remote.step

        def record(row: dict[str, float]) -> None:
            shown = "  ".join(f"{key} {row[key]:.4g}" for key in ("loss", "fvu", "l0", "dead_fraction", "seconds"))
            log.info("step %.0f  %s", row["step"], shown)
            if writer:
                for key, value in row.items():
                    writer.add_scalar(key, value, int(row["step"]))
            if remote and row["step"] >= first:
                remote.log(row, step=int(row["step"]))

        yield record
