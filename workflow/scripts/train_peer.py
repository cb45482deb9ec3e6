"""Train one dictionary on an activation store with another library, in the environment of other libraries."""

from importlib.metadata import version

from peers.run_peer import run_peer
from peers.settings import DISTRIBUTIONS, PeerConfig
from runs.folder import Run, begin, describe
from sdlcore import Dictionary
from sdlcore.api.run_folder import unfinished_run
from sdlcore.command_line import cli


def main(run: Run, *, settings: PeerConfig) -> None:
    run.limit_threads()
    provenance = describe(run, settings, __file__, settings.parts)
    library = DISTRIBUTIONS[settings.peer]
    provenance["versions"] |= {library: version(library)}
    if begin(run, provenance):
        return
    with unfinished_run(run.out) as history:
        coder, rows = run_peer(run.store, settings, run.seed, run.watch, [history])
        Dictionary(coder, provenance, rows).save(run.out)


if __name__ == "__main__":
    cli(main)
