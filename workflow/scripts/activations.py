"""Write a language model's activations on a text to stores: both stores, one part, or only the evaluation store."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.device import Device, choose_device
from sdlcore.sources.language.extraction import extract, extract_shard
from sdlcore.sources.language.settings import LanguageSource
from sdlcore.sources.language.streaming import write_recipe


def main(
    *,
    source: LanguageSource,
    model: str,
    text: str,
    threads: int = 1,
    device: Device = "auto",
    train: Path | None = None,
    test: Path | None = None,
    shard: tuple[int, int] | None = None,
    output: Path | None = None,
    recipe: Path | None = None,
    buffer_rows: int | None = None,
) -> None:
    """
    Args:
        source: settings of the source
        model: folder of a transformers checkpoint, or OWNER/NAME on the hub
        text: file or folder of a text, or dataset:OWNER/NAME on the hub
        train: training store to write
        test: evaluation store to write
        shard: number of the part to write to --output, and number of parts
        output: store of the part
        recipe: file to write instead of a training store, for train_streamed.py
        buffer_rows: rows in memory that streamed batches are drawn from
    """
    where = (source, model, text)
    place = choose_device(device)
    if shard and output:
        extract_shard(*where, output, *shard, threads=threads, device=place)
    elif recipe and test and buffer_rows:
        write_recipe(*where, recipe, test, buffer_rows, threads=threads, device=place)
    elif train and test:
        extract(*where, train, test, threads=threads, device=place)
    else:
        raise ValueError("expected --train and --test, or --shard and --output, or --recipe, --test and --buffer-rows")


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
