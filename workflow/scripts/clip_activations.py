"""Write a CLIP model's embeddings of image folders to activation stores."""

from pathlib import Path

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
    workers: int = 0,
    threads: int = 1,
    device: Device = "cpu",
    train: Path | None = None,
    test: Path | None = None,
    part: tuple[int, int] | None = None,
    skipped: Path,
) -> None:
    """
    Args:
        source: settings of the source
        model: architecture: a name of open_clip's or a JSON file
        pretrained: weights: a file, a tag, or hf-hub:<owner>/<name>
        images: image folder
        test_images: image folder for the evaluation store; without it, some of --images are held out
        workers: processes that decode images
        train: training store to write
        test: evaluation store to write
        part: number of a part, and number of parts, if the stores are only a part
        skipped: CSV file to write: images that could not be read
    """
    stores = {split: path for split, path in (("train", train), ("test", test)) if path is not None}
    write_image_stores(
        source,
        images,
        test_images,
        stores,
        skipped,
        part=part,
        model=model,
        pretrained=pretrained,
        workers=workers,
        device=device,
        threads=threads,
    )


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
