"""Train a small CLIP on an image folder."""

from pathlib import Path

from offline.fashion_mnist import garment_of
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
    garments: bool = False,
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
        garments: the classes are Fashion-MNIST's: evaluate garments too
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
        group_of=garment_of if garments else None,
        workers=workers,
        device=device,
        threads=threads,
    )


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
