"""Evaluate one trained dictionary on samples that it did not see."""

import argparse
import json
import logging

import numpy as np
import torch

from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.evaluate import GroundTruth, evaluate
from sdlcore.evaluation.given import given_away
from sdlcore.evaluation.origin import check_origin
from sdlcore.model.saving import load_model
from sdlcore.random_streams import stream
from sdlcore.sources.bench.hierarchy import Hierarchy
from sdlcore.storage.files import provenance, seal_json, sha256_of, write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=5, metavar=("SOURCE", "METHOD", "PROTOCOL", "ANCHORING", "SEED"), required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--trained-on", required=True, help="what the run is to be trained on; it may be gone by now")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: the run's settings")
    parser.add_argument("--store", required=True)
    parser.add_argument("--references", help="the directions to judge by, where there are any")
    parser.add_argument("--anchors", help="which features count as anchored")
    parser.add_argument("--hierarchy", type=json.loads, help="JSON: parents and children of a bench that has them")
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    torch.set_num_threads(1)
    source, method, protocol, anchoring, seed = args.cell
    check_origin(args.model, args.settings, int(seed), args.trained_on)
    truth = None
    if args.references:
        references = load_references(args.references)
        truth = GroundTruth(references.W_p, references.W_r, np.zeros(0, dtype=np.int64), references.classes)
        truth = truth._replace(hierarchy=Hierarchy(**args.hierarchy) if args.hierarchy else None)
        if args.anchors:
            anchors = load_anchors(args.anchors)
            truth = truth._replace(anchored=given_away(anchors, references), anchors=anchors)
    with open_checked(args.store) as store:
        found = evaluate(load_model(args.model), store, truth, stream(int(seed), "chance"))
    facts = provenance(__file__, inputs={"model": sha256_of(args.model), "store": content_digest(args.store)})
    cell = {"source": source, "method": method, "protocol": protocol, "anchoring": anchoring, "seed": int(seed)}
    write_json(args.output, seal_json({"run": cell, **found._asdict(), "provenance": facts}))
    for name, value in found.metrics.items():
        logging.info("%s %s", name, value)


if __name__ == "__main__":
    main()
