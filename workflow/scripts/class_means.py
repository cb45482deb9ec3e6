"""Take the means of a labelled store's classes."""

import argparse
import json
import logging

from sdlcore.data.reading import content_digest, open_checked
from sdlcore.data.references import class_means, save_references
from sdlcore.storage.files import provenance
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="centred and min_class_size, JSON")
    parser.add_argument("--store", required=True, help="activation store with labels")
    parser.add_argument("--references", required=True, help="safetensors file of directions to write")
    parser.add_argument("--classes", required=True, help="CSV file to write: one row a class")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    with open_checked(args.store) as store:
        references, classes = class_means(store, **args.settings)
    facts = provenance(__file__, settings=args.settings, inputs={"store": content_digest(args.store)})
    save_references(args.references, references, facts)
    write_csv(args.classes, classes)
    left_out = classes[classes["left_out"] != ""]
    logging.info("%d classes of %d have a mean", references.W_p.shape[1], len(classes))
    logging.info("cosine of each with its nearest: median %.3f", classes["cosine"].median())
    for _, row in left_out.iterrows():
        logging.info("left out: %s (%s)", row["name"], row["left_out"])


if __name__ == "__main__":
    main()
