"""Write a language model's activations on a text to stores: both stores, one part, or only the evaluation store."""

from pathlib import Path
from typing import Literal

import torch

from sdlcore.command_line import cli
from sdlcore.device import Device, choose_device
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.language import write_language_stores
from sdlcore.extraction.stream import write_language_recipe


def main(
    *,
    source: LanguageSource,
    model: str,
    text: str,
    outputs: tuple[Path, ...],
    part: tuple[Literal["train", "test"], int, int] | None = None,
    buffer_rows: int = 65536,
    threads: int = 1,
    device: Device = "auto",
) -> None:
    """
    Args:
        source: settings of the source
        model: folder of a transformers checkpoint, or OWNER/NAME on the hub
        text: file or folder of a text, or dataset:OWNER/NAME on the hub
        outputs: training and evaluation store to write; instead of the former, a .json file for a recipe; or one part
        part: split, number of the part, and number of training parts
        buffer_rows: rows in memory that streamed batches are drawn from
    """
    torch.set_num_threads(threads)
    where, place = (source, model, text), choose_device(device)
    if outputs[0].suffix == ".json":
        recipe, test = outputs
        write_language_recipe(*where, recipe, test, buffer_rows, place)
    else:
        stores = dict(zip([part[0]] if part else ["train", "test"], outputs, strict=True))
        write_language_stores(*where, stores, part and part[1:], place)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
