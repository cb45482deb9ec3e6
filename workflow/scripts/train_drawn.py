"""Train one dictionary on samples of a bench that are drawn during training."""

from runs.folder import Run
from runs.training import Training, train
from sdlcore.api.recipes import Recipe
from sdlcore.command_line import cli
from sdlcore.device import choose_device
from sdlcore.pipeline import RunConfig, processes_of
from sdlcore.sources.synth.streaming import open_stream


def main(run: Run, training: Training, *, settings: RunConfig) -> None:
    device = choose_device(training.device)
    with (
        processes_of(training.split, settings) as processes,
        Recipe(run.store, open_stream, run.out, device) as samples,
    ):
        train(samples, run, training, settings, processes)


if __name__ == "__main__":
    cli(main)
