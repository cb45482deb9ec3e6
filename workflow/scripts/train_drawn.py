"""Train one dictionary on samples of a bench that are drawn during training."""

from runs.folder import Run
from runs.training import Training, train
from sdlcore.pipeline import Recipe, RunConfig, cli, open_synth_stream, processes_of


def main(run: Run, training: Training, *, settings: RunConfig) -> None:
    with (
        processes_of(training.split, settings) as processes,
        Recipe(run.store, open_synth_stream, run.out, training.device) as samples,
    ):
        train(samples, run, training, settings, leads=processes.all.rank == 0)


if __name__ == "__main__":
    cli(main)
