"""Train a small CLIP on an image folder."""

from pathlib import Path

from offline.settings import ClipTraining
from offline.training import train_clip
from sdlcore.command_line import cli
from sdlcore.device import Device


def main(
    *,
    training: ClipTraining,
    model: str,
    images: Path,
    test_images: Path,
    workers: int = 0,
    threads: int = 1,
    device: Device = "cpu",
    weights: Path,
    metrics: Path,
) -> None:
    """
    Args:
        training: settings of the training
        model: architecture: a name of open_clip's or a JSON file
        images: image folder to train on
        test_images: image folder to evaluate on
        workers: processes that decode images
        weights: safetensors file to write
        metrics: JSON file to write
    """
    train_clip(
        training,
        model,
        images,
        test_images,
        weights,
        metrics,
        workers=workers,
        device=device,
        threads=threads,
    )


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
