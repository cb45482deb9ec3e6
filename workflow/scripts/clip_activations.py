"""Write a CLIP model's embeddings of image folders to activation stores."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.device import Device
from sdlcore.extraction.clip import clip_extraction
from sdlcore.extraction.clip_config import ClipSource


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
    shard: tuple[str, int, int] | None = None,
    output: Path | None = None,
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
        shard: train or test, number of the part to write to --output, and number of parts
        output: store of the part
        skipped: CSV file to write: images that could not be read
    """
    if not (shard and output) and not (train and test):
        raise ValueError("expected --train and --test, or --shard and --output")
    work = clip_extraction(
        source,
        images,
        test_images,
        model=model,
        pretrained=pretrained,
        workers=workers,
        device=device,
        threads=threads,
    )
    if shard and output:
        work.write_part(*shard, output, skipped)
    elif train and test:
        work.write(train, test, skipped)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
