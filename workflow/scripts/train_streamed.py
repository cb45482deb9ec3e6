"""Train one dictionary on activations that a language model makes as it goes."""

import os

# before torch starts its threads: those that wait must leave the cores to those of the kernels
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sdlcore.sources.language.streaming import open_stream
from sdlcore.training import command


def main(argv: list[str] | None = None) -> None:
    command.main(__file__, open_stream, __doc__, argv)


if __name__ == "__main__":
    main()
