"""Convert a GGUF file to a folder of the cache that transformers loads, and link to it."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.extraction.gguf_conversion import converted_gguf
from sdlcore.storage.files import link


def main(*, gguf: Path, cache: Path, output: Path) -> None:
    """
    Args:
        gguf: GGUF file of a Llama-family model
        cache: folder of converted models
        output: link to make
    """
    link(converted_gguf(gguf, cache), output)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
