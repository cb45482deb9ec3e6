"""Train one dictionary on an activation store with another library, in the environment of other libraries."""

from peers.run_peer import run_peer
from peers.settings import PeerConfig
from sdlcore.command_line import cli
from sdlcore.training.runner import Run


def main(run: Run, *, settings: PeerConfig) -> None:
    run_peer(run, settings, __file__)


if __name__ == "__main__":
    cli(main)
