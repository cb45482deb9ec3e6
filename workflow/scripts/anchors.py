"""Pick ground-truth features as anchors."""

import argparse
import logging

from sdlcore.anchors import ground_truth_anchors, save_anchors
from sdlcore.bench.feature_matrix import load_feature_matrices
from sdlcore.files import provenance
from sdlcore.streams import stream


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-anchors", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--feature-matrix", required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    anchors = ground_truth_anchors(
        *load_feature_matrices(args.feature_matrix), args.n_anchors, stream(args.seed, "anchors")
    )
    save_anchors(
        args.output, anchors, provenance(__file__, kind="ground_truth", n_anchors=args.n_anchors, seed=args.seed)
    )
    logging.info("anchored features: %s", anchors.feature.tolist())


if __name__ == "__main__":
    main()
