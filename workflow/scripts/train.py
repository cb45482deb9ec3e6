"""Train one dictionary on an activation store, or on samples that are computed during the training."""

from runs.folder import Run
from runs.training import Training, train
from sdlcore.api.streams import open_batches
from sdlcore.command_line import cli
from sdlcore.config import Config
from sdlcore.training.distributed import processes_of


def main(run: Run, training: Training, *, settings: Config) -> None:
    with (
        processes_of(training.split, settings) as processes,
        open_batches(run.store, folder=run.out, device=training.device) as batches,
    ):
        train(batches, run, training, settings, leads=processes.all.rank == 0)


if __name__ == "__main__":
    cli(main)
