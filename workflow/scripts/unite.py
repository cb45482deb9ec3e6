"""Write the index that joins the parts of a store."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.data.shards import unite
from sdlcore.identity import provenance


def main(*, shards: list[Path], index: Path) -> None:
    """
    Args:
        shards: the parts, in order
        index: index to write
    """
    unite(shards, index, provenance(shards=[path.name for path in shards]))
    logging.info("%s: %d shards", index, len(shards))


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
