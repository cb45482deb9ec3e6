"""Find anchors in activations without labels: directions that a solver finds in both halves of the data."""

import logging
from pathlib import Path
from typing import Any

import torch

from sdlcore.command_line import cli
from sdlcore.data.anchors import save_anchors
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.identity import provenance
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.stable import stable_directions
from sdlcore.storage.files import write_json


def main(
    *,
    settings: dict[str, Any],
    n_anchors: int | None,
    seed: int,
    threads: int = 1,
    store: Path,
    output: Path,
    summary: Path,
) -> None:
    """
    Args:
        settings: solver (its settings) and min_cosine
        n_anchors: number of anchors; without a number, all stable directions
        output: file of anchors to write
        summary: JSON file to write: numbers of atoms, cosines between the halves, and energies
    """
    torch.set_num_threads(threads)
    config = SolverConfig.from_dict(settings["solver"])
    with ActivationStore(store) as opened:
        stable = stable_directions(opened, config, settings["min_cosine"], seed)
    anchors = stable.strongest(n_anchors)
    facts = provenance(
        kind="discovered",
        settings=settings,
        n_anchors=n_anchors,
        seed=seed,
        inputs={"store": content_digest(store)},
        plugins=config.plugins,
    )
    save_anchors(output, anchors, facts)
    shared: dict[str, Any] = {"atoms": list(stable.atoms), "stable": len(stable.cosines), "anchors": len(anchors.w_p)}
    shared |= {name: [round(float(x), 6) for x in getattr(stable, name)] for name in ("cosines", "energies")}
    write_json(summary, shared)
    logging.info("%d of %d and %d atoms are stable", shared["stable"], *stable.atoms)


if __name__ == "__main__":
    cli(main, log="%(message)s")
