"""Write the index that joins the parts of a store."""

import logging
from pathlib import Path

from sdlcore.pipeline import cli, provenance, unite


def main(*, shards: list[Path], index: Path) -> None:
    """
    Args:
        shards: the parts, in order
        index: index to write
    """
    unite(shards, index, provenance(__file__, shards=[path.name for path in shards]))
    logging.info("%s: %d shards", index, len(shards))


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
