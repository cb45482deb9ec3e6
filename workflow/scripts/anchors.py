"""Draw anchors from ground-truth features or class means."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.data.anchors import save_anchors
from sdlcore.data.references import load_references
from sdlcore.identity import provenance


def main(*, n_anchors: float, seed: int, references: Path, first: int | None = None, output: Path) -> None:
    """
    Args:
        n_anchors: number of anchors; below 1, share of all directions
        references: feature matrices of a bench, or class means
        first: draw only from this many first directions, such as the parents of a hierarchy; without a number, from all
    """
    judges = load_references(references)
    anchors = judges.choose(n_anchors, seed, first)
    kind = "ground_truth" if judges.classes is None else "class_means"
    facts = provenance(kind=kind, n_anchors=len(anchors.w_p), first=first, seed=seed)
    save_anchors(output, anchors, facts)
    logging.info("anchored features: %s", anchors.feature)


if __name__ == "__main__":
    cli(main, log="%(message)s")
