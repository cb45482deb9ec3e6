"""Train one dictionary on an activation store."""

from runs.folder import Run
from runs.training import Training, train
from sdlcore.command_line import cli
from sdlcore.data.reading import ActivationStore
from sdlcore.run import RunConfig
from sdlcore.training.distributed import processes_of


def main(run: Run, training: Training, *, settings: RunConfig) -> None:
    with processes_of(training.split, settings) as processes, ActivationStore(run.store) as store:
        train(store, run, training, settings, leads=processes.all.rank == 0)


if __name__ == "__main__":
    cli(main)
