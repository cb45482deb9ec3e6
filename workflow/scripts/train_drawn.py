"""Train one dictionary on samples of a bench that are drawn during training."""

from sdlcore.command_line import cli
from sdlcore.run import RunConfig
from sdlcore.sources.synth.streaming import open_stream
from sdlcore.training.run_training import Options, run_training
from sdlcore.training.runner import Run


def main(run: Run, training: Options, *, settings: RunConfig) -> None:
    run_training(run, settings, training, __file__, open_stream)


if __name__ == "__main__":
    cli(main)
