"""Train one dictionary on activations that a language model computes during training."""

from runs.folder import Run
from runs.training import Training, train
from sdlcore.api.recipes import Recipe
from sdlcore.command_line import cli
from sdlcore.extraction.stream import open_language_stream
from sdlcore.run import RunConfig
from sdlcore.training.distributed import processes_of


def main(run: Run, training: Training, *, settings: RunConfig) -> None:
    with (
        processes_of(training.split, settings) as processes,
        Recipe(run.store, open_language_stream, run.out, training.device) as samples,
    ):
        train(samples, run, training, settings, leads=processes.all.rank == 0)


if __name__ == "__main__":
    cli(main)
