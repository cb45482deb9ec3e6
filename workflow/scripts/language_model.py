"""Convert a GGUF file to a folder of the cache that transformers loads, and link to it."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.identity import NUMBERS
from sdlcore.storage.files import link, make_once, sha256_of


def main(*, gguf: Path, cache: Path, output: Path) -> None:
    """
    Args:
        gguf: GGUF file of a Llama-family model
        cache: folder of converted models, which are named by the content of the file and shared between checkouts
        output: link to make
    """

    def convert(folder: Path) -> None:
        load_any(gguf).save_pretrained(folder)
        load_tokenizer(gguf).save_pretrained(folder)

    folder = cache / f"{gguf.stem}-{sha256_of(gguf)[:16]}-{NUMBERS['language_model']}"
    make_once(folder, convert)
    link(folder, output)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
