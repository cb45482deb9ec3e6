"""Write a language model's activations on a text to stores: both stores, one part, or only the evaluation store."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.device import Device, choose_device
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.language import write_language_shard, write_language_stores
from sdlcore.extraction.stream import write_language_recipe


def main(
    *,
    source: LanguageSource | None = None,
    sources: tuple[LanguageSource, ...] = (),
    model: str,
    text: str,
    threads: int = 1,
    device: Device = "auto",
    train: Path | None = None,
    test: Path | None = None,
    shard: tuple[int, int] | None = None,
    output: Path | None = None,
    trains: tuple[Path, ...] = (),
    tests: tuple[Path, ...] = (),
    recipe: Path | None = None,
    buffer_rows: int | None = None,
) -> None:
    """
    Args:
        source: settings of the source
        sources: settings of several sources, which one pass extracts
        model: folder of a transformers checkpoint, or OWNER/NAME on the hub
        text: file or folder of a text, or dataset:OWNER/NAME on the hub
        train: training store to write
        test: evaluation store to write
        shard: number of the part to write to --output, and number of parts
        output: store of the part
        trains: training stores of several sources
        tests: evaluation stores of several sources
        recipe: file to write instead of a training store, for train.py
        buffer_rows: rows in memory that streamed batches are drawn from
    """
    place = choose_device(device)
    if sources:
        stores = list(zip(trains, tests, strict=True))
        return write_language_stores(sources, model, text, stores, threads=threads, device=place)
    if source is None:
        raise ValueError("expected --source or --sources")
    where = (source, model, text)
    if shard and output:
        write_language_shard(*where, output, *shard, threads=threads, device=place)
    elif recipe and test and buffer_rows:
        write_language_recipe(*where, recipe, test, buffer_rows, threads=threads, device=place)
    elif train and test:
        write_language_stores([source], model, text, [(train, test)], threads=threads, device=place)
    else:
        raise ValueError("expected --train and --test, or --shard and --output, or --recipe, --test and --buffer-rows")


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
