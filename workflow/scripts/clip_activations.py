"""Write a CLIP model's embeddings of image folders to activation stores."""

from pathlib import Path
from typing import Literal

import torch

from sdlcore.command_line import cli
from sdlcore.device import Device
from sdlcore.extraction.clip import write_image_stores
from sdlcore.extraction.config import ClipSource


def main(
    *,
    source: ClipSource,
    model: str,
    pretrained: str,
    images: Path,
    test_images: Path | None = None,
    stores: tuple[Path, ...],
    part: tuple[Literal["train", "test"], int, int] | None = None,
    skipped: Path,
    workers: int = 0,
    threads: int = 1,
    device: Device = "cpu",
) -> None:
    """
    Args:
        source: settings of the source
        model: architecture: a name of open_clip's or a JSON file
        pretrained: weights: a file, a tag, or hf-hub:<owner>/<name>
        images: image folder
        test_images: image folder for the evaluation store; without it, some of --images are held out
        stores: training and evaluation store to write, or one part
        part: split, number of the part, and number of training parts
        skipped: CSV file to write: images that could not be read
        workers: processes that decode images
    """
    torch.set_num_threads(threads)
    splits = dict(zip([part[0]] if part else ["train", "test"], stores, strict=True))
    write_image_stores(
        source,
        images,
        test_images,
        splits,
        skipped,
        part=(part[1], part[2] if part[0] == "train" else 1) if part else None,
        model=model,
        pretrained=pretrained,
        workers=workers,
        device=device,
    )


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
