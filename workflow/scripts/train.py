"""Train one dictionary on an activation store."""

import os

# before torch starts its threads: those that wait must leave the cores to those of the kernels
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sdlcore.data.batches import open_store
from sdlcore.training import command


def main(argv: list[str] | None = None) -> None:
    command.main(__file__, lambda *where: open_store(*where[:4]), __doc__, argv)


if __name__ == "__main__":
    main()
