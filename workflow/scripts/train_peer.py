"""Train one dictionary on an activation store by another library, in the environment of these."""

import os

# before torch starts its threads: those that wait must leave the cores to those of the kernels
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sdlcore.baselines import command


def main(argv: list[str] | None = None) -> None:
    command.main(__file__, __doc__, argv)


if __name__ == "__main__":
    main()
