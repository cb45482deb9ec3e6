"""Pick anchors among ground-truth features or means of classes."""

import argparse
import logging

from sdlcore.data.anchors import number_of_anchors, random_anchors, save_anchors
from sdlcore.data.references import load_references
from sdlcore.random_streams import stream
from sdlcore.storage.files import provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-anchors", type=float, required=True, help="how many, or, below 1, which share of all")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--references", required=True, help="feature matrices of a bench, or means of classes")
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    W_p, W_r, classes = load_references(args.references)
    n_anchors = number_of_anchors(args.n_anchors, W_p.shape[1])
    anchors = random_anchors(W_p, W_r, n_anchors, stream(args.seed, "anchors"))
    kind = "ground_truth" if classes is None else "class_means"
    facts = provenance(__file__, kind=kind, n_anchors=n_anchors, seed=args.seed)
    save_anchors(args.output, anchors, facts)
    logging.info("anchored features: %s", anchors.feature)


if __name__ == "__main__":
    main()
