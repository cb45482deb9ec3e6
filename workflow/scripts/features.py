"""Draw, feature by feature, what a table's dictionaries of a bench recover."""

import argparse
import json
import logging
import sys
from typing import Any

import numpy as np
import pandas as pd

from sdlcore.data.anchors import load_anchors
from sdlcore.data.references import load_references
from sdlcore.evaluation.given import best_cosines, given_away
from sdlcore.model.saving import load_model
from sdlcore.study.products.features import FEATURE_COLUMNS, figure_features
from sdlcore.study.products.figures import save_figure
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs",
        required=True,
        type=json.loads,
        help="JSON: method, model and anchored (the model of the anchored run), references, anchors of each",
    )
    for name in ("--png", "--pdf", "--table"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    features = pd.concat([_features(pair) for pair in arguments.pairs])
    write_csv(arguments.table, features)
    save_figure(figure_features(features), arguments.png, arguments.pdf)
    logging.info("%d features of %d dictionaries", len(features), len(arguments.pairs))


def _features(pair: dict[str, Any]) -> pd.DataFrame:
    references = load_references(pair["references"])
    found: dict[str, Any] = {"method": pair["method"], "feature": np.arange(references.W_p.shape[1])}
    found["given"] = np.isin(found["feature"], given_away(load_anchors(pair["anchors"]), references))
    for name, suffix in (("model", ""), ("anchored", "_anchored")):
        found[f"encoder{suffix}"], found[f"decoder{suffix}"] = best_cosines(load_model(pair[name]), references)
    return pd.DataFrame(found)[FEATURE_COLUMNS]


if __name__ == "__main__":
    main()
