"""Train one dictionary on an activation store."""

from sdlcore.command_line import cli
from sdlcore.data.batches import open_store
from sdlcore.run import RunConfig
from sdlcore.training.run_training import Options, run_training
from sdlcore.training.runner import Run


def main(run: Run, training: Options, *, settings: RunConfig) -> None:
    run_training(
        *(run, settings, training, __file__),
        lambda path, pair, batch_size, order, _folder, _device, neighbours: open_store(
            path, pair, batch_size, order, neighbours
        ),
    )


if __name__ == "__main__":
    cli(main)
