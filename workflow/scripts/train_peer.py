"""Train one dictionary on an activation store with another library, in the environment of other libraries."""

from importlib.metadata import version

from peers.run_peer import run_peer
from peers.settings import DISTRIBUTIONS, PeerConfig
from runs.folder import Run, copy_finished, describe
from sdlcore import Dictionary
from sdlcore.api.run_folder import unfinished_run
from sdlcore.command_line import cli
from sdlcore.identity import ENTRY


def main(run: Run, *, settings: PeerConfig) -> None:
    run.limit_threads()
    provenance = describe("peer", run, settings)
    library = DISTRIBUTIONS[settings.peer]
    provenance["versions"][library] = version(library)
    if copy_finished(run, provenance[ENTRY]):
        return
    with unfinished_run(run.out) as history:
        coder, rows = run_peer(run.store, settings, run.seed, run.watch, [history])
        Dictionary(coder, provenance, rows).save(run.out)


if __name__ == "__main__":
    cli(main)
