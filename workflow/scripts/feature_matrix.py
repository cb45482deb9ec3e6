"""Draw the ground-truth feature matrices of a bench."""

import argparse
import json
import logging

from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import FeatureMatrixConfig, feature_matrix
from sdlcore.sources.bench.seed_leak import leaked_start
from sdlcore.storage.files import provenance
from sdlcore.storage.sealing import write_sealed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=json.loads, required=True, help="settings, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    bench = dict(args.bench)
    leak = bench.pop("seed_leak")
    n, dimensions = bench.pop("n"), {"W_p": bench.pop("n_p"), "W_r": bench.pop("n_r")}
    config = FeatureMatrixConfig(**bench)
    tensors, reached = {}, {}
    for name, dimension in dimensions.items():
        if dimension is None:
            continue
        start = leaked_start(dimension, n, args.seed) if leak else None
        found = feature_matrix(dimension, n, stream(args.seed, "feature matrix", name), config, start)
        tensors[name] = found.W
        reached[name] = {
            "max_signed": found.max_signed,
            "max_absolute": found.max_absolute,
            "iterations": found.iterations,
        }
        logging.info("%s: %d features in %d dimensions, %s", name, n, dimension, reached[name])
    facts = provenance(__file__, bench=args.bench, seed=args.seed, reached=reached)
    write_sealed(args.output, tensors, facts)


if __name__ == "__main__":
    main()
