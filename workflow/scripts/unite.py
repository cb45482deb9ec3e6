"""Write the index that makes one store of shards."""

import argparse
import logging
from pathlib import Path

from sdlcore.data.shards import unite
from sdlcore.storage.files import provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True, nargs="+", type=Path, help="stores, in order")
    parser.add_argument("--index", required=True, type=Path, help="index to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    unite(args.shards, args.index, provenance(__file__, shards=[path.name for path in args.shards]))
    logging.info("%s: %d shards", args.index, len(args.shards))


if __name__ == "__main__":
    main()
