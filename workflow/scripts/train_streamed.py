"""Train one dictionary on activations that a language model computes during training."""

from sdlcore.command_line import cli
from sdlcore.run import RunConfig
from sdlcore.sources.language.streaming import open_stream
from sdlcore.training.run_training import Options, run_training
from sdlcore.training.runner import Run


def main(run: Run, training: Options, *, settings: RunConfig) -> None:
    run_training(run, settings, training, __file__, open_stream)


if __name__ == "__main__":
    cli(main)
