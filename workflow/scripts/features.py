"""Draw, feature by feature, what a table's dictionaries of a bench recover."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdlcore.command_line import cli
from sdlcore.data.anchors import load_anchors
from sdlcore.data.references import load_references
from sdlcore.evaluation.given import best_cosines, given_away
from sdlcore.model.saving import load_model
from sdlcore.study.products.features import FEATURE_COLUMNS, figure_features
from sdlcore.study.products.figures import save_figure
from sdlcore.study.results.tables import write_csv


def main(*, pairs: list[dict[str, Any]], png: Path, pdf: Path, table: Path) -> None:
    """
    Args:
        pairs: method, model and anchored (the model of the anchored run), references, anchors of each
    """
    features = pd.concat([_features(pair) for pair in pairs])
    write_csv(table, features)
    save_figure(figure_features(features), png, pdf)
    logging.info("%d features of %d dictionaries", len(features), len(pairs))


def _features(pair: dict[str, Any]) -> pd.DataFrame:
    references = load_references(pair["references"])
    found: dict[str, Any] = {"method": pair["method"], "feature": np.arange(references.W_p.shape[1])}
    found["given"] = np.isin(found["feature"], given_away(load_anchors(pair["anchors"]), references))
    for name, suffix in (("model", ""), ("anchored", "_anchored")):
        found[f"encoder{suffix}"], found[f"decoder{suffix}"] = best_cosines(load_model(pair[name]), references)
    return pd.DataFrame(found)[FEATURE_COLUMNS]


if __name__ == "__main__":
    cli(main)
