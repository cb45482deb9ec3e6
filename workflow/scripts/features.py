"""Draw, feature by feature, what a table's dictionaries of a bench recover."""

import argparse
import json
import logging
import sys
from typing import Any

import numpy as np
import pandas as pd

from sdlcore.anchors import load_anchors
from sdlcore.evaluation.recovery import best_match, normalise_rows
from sdlcore.model import load_model
from sdlcore.pairs import make_direction_pair
from sdlcore.references import load_references
from sdlcore.rendering.features import FEATURE_COLUMNS, figure_features
from sdlcore.rendering.figures import save_figure
from sdlcore.rendering.tables import write_csv


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
    W_p, W_r, _ = load_references(pair["references"])
    found: dict[str, Any] = {"method": pair["method"], "feature": np.arange(W_p.shape[1])}
    found["given"] = np.isin(found["feature"], load_anchors(pair["anchors"]).feature)
    for name, suffix in (("model", ""), ("anchored", "_anchored")):
        model = load_model(pair[name])
        true_p, true_r = make_direction_pair(model.config.pair, W_p.T, None if W_r is None else W_r.T)
        found[f"encoder{suffix}"] = best_match(normalise_rows(model.W_enc.detach().numpy()), true_p).similarity
        found[f"decoder{suffix}"] = best_match(normalise_rows(model.W_dec.detach().numpy()), true_r).similarity
    return pd.DataFrame(found)[FEATURE_COLUMNS]


if __name__ == "__main__":
    main()
