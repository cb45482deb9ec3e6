"""Draw a bench's samples into activation stores, one for training and one for evaluation."""

import argparse
import json
import logging

from sdlcore.activations.store import create_store
from sdlcore.bench.feature_matrix import load_feature_matrices
from sdlcore.bench.hierarchy import Hierarchy
from sdlcore.bench.samples import coefficients, synthesise
from sdlcore.files import provenance
from sdlcore.streams import stream

ROWS_AT_ONCE = 8192


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=json.loads, required=True, help="settings, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--feature-matrix", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    W_p, W_r = load_feature_matrices(args.feature_matrix)
    bench = args.bench
    hierarchy = Hierarchy(**bench["hierarchy"]) if bench["hierarchy"] else None
    for part, path in (("train", args.train), ("test", args.test)):
        rng = stream(args.seed, "samples", part)
        rows = bench[f"{part}_samples"]
        with create_store(path, provenance(__file__, bench=bench, seed=args.seed, part=part)) as store:
            for start in range(0, rows, ROWS_AT_ONCE):
                size = min(ROWS_AT_ONCE, rows - start)
                x = coefficients(size, W_p.shape[1], bench["sparsity"], rng, bench["c_min"], bench["beta"], hierarchy)
                target = None if W_r is None else synthesise(x, W_r)
                store.append(synthesise(x, W_p), target=target, features=x)
        logging.info("%s: %d samples", part, rows)


if __name__ == "__main__":
    main()
