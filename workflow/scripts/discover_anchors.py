"""Find anchors in activations alone: what a solver finds in both halves of them."""

import argparse
import json
import logging
import os

# before torch starts its threads: those that wait must leave the cores to those of the kernels
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from sdlcore.data.anchors import save_anchors
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.stable import stable_directions, strongest
from sdlcore.storage.files import provenance, write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: solver (its settings) and min_cosine")
    parser.add_argument("--n-anchors", type=json.loads, required=True, help="a number, or null for all that are stable")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--found", required=True, help="JSON file to write: what the halves have in common")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    torch.set_num_threads(args.threads)
    settings, config = args.settings, SolverConfig.from_dict(args.settings["solver"])
    with open_checked(args.store) as store:
        stable = stable_directions(store, config, settings["min_cosine"], args.seed)
    anchors = strongest(stable, args.n_anchors)
    facts = provenance(__file__, kind="discovered", settings=settings, n_anchors=args.n_anchors, seed=args.seed)
    facts["inputs"] = {"store": content_digest(args.store)}
    save_anchors(args.output, anchors, facts)
    found = {"atoms": list(stable.atoms), "stable": len(stable.cosines), "anchors": len(anchors.w_p)}
    found |= {name: [round(float(x), 6) for x in getattr(stable, name)] for name in ("cosines", "energies")}
    write_json(args.found, found)
    logging.info("%d of %d and %d atoms are stable", found["stable"], *stable.atoms)


if __name__ == "__main__":
    main()
