"""Compute the mean of each class in a labelled store."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from sdlcore.command_line import cli
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.references import means_of_classes, save_references
from sdlcore.identity import provenance
from sdlstudy.results.tables import write_csv


def main(*, settings: dict[str, Any], store: Path, references: Path, classes: Path) -> None:
    """
    Args:
        settings: how means are computed: centred or not, and the smallest size of a class
        store: activation store with labels
        references: safetensors file of directions to write
        classes: CSV file to write: one row for each class
    """
    with ActivationStore(store) as opened:
        means, columns = means_of_classes(opened, **settings)
    listed = pd.DataFrame(columns)
    facts = provenance(settings=settings, inputs={"store": content_digest(store)})
    save_references(references, means, facts)
    write_csv(classes, listed)
    left_out = listed[listed["left_out"] != ""]
    logging.info("%d classes of %d have a mean", means.W_p.shape[1], len(listed))
    logging.info("cosine of each with its nearest: median %.3f", listed["cosine"].median())
    for _, row in left_out.iterrows():
        logging.info("left out: %s (%s)", row["name"], row["left_out"])


if __name__ == "__main__":
    cli(main, log="%(message)s")
