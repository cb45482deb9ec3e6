"""Write the files of runs and sources that products are made from."""

import json
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.image import imread

from sdlcore.benches.lrb import synthesise
from sdlcore.model.saving import save_model
from sdlcore.storage.checksums import write_with_checksum
from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.trees import merge
from tests.coders import coder
from tests.conftest import REPOSITORY, script
from tests.stores import write_store

PAPER = str(REPOSITORY / "resources/paper")
NOTHING = {"own": None, "solvers": None, "anchoring_map": None, "harder": None, "tables": {}, "figures": {}}
"""Laid over a configuration, this requests no product."""


def configuration(change: Mapping[str, Any] | None = None, *names: str) -> Configuration:
    """Return the default with files and a change laid over it."""
    config = load_yaml(REPOSITORY / "config/config.yaml")
    for name in names:
        config = merge(config, load_yaml(REPOSITORY / f"config/{name}.yaml"))
    return validate(merge(config, change or {}))


def alone(change: Mapping[str, Any]) -> Configuration:
    """Return the default with a change laid over it, without products that the change does not request."""
    return validate(merge(load_yaml(REPOSITORY / "config/config.yaml") | NOTHING, change))


def make(config: Configuration, name: str, folder: Path) -> Files:
    """Make a product in a folder as the workflow does, only from its inputs, and return the paths of its files."""
    files, product = config.files(PAPER), config.products()[name]
    with chdir(folder):
        missing = [path for path in product.inputs(files) if not Path(path).exists()]
        assert not missing
        script("product")(
            name=name,
            product=f"{type(product).__module__}.{type(product).__name__}",
            settings=json.loads(json.dumps(product.model_dump())),
            study=json.loads(json.dumps(product.depends_on(config))),
            divided_by=dict(files.divided_by),
            paper=Path(PAPER),
        )
        lacking = [path for path in product.outputs(files) if not Path(path).is_file()]
        assert not lacking
    return files


def write_metrics(
    folder: Path, files: Files, cell: Cell, history: str = "", settings: Any = None, **content: Any
) -> None:
    """Write the metrics file of a run (``metrics=...``, ``features=...``), and its history and settings if given."""
    path = folder / files.run(cell)
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.json").write_text(json.dumps({"run": asdict(cell), "chance": {}} | content))
    if history:
        (path / "history.csv").write_text(history)
    if settings is not None:
        (path / "config.json").write_text(json.dumps({"settings": settings}))


def printed(folder: Path, files: Files, name: str) -> list[list[str]]:
    """Return the cells of a product's table in Markdown, without its heads."""
    lines = (folder / files.table(name, "md")).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def pictured(folder: Path, files: Files, name: str, width: int = 1000) -> pd.DataFrame | None:
    """Check a product's pictures, at least ``width`` pixels wide; return its table, or None."""
    assert imread(folder / files.figure(name)).shape[1] >= width
    assert (folder / files.figure(name, "pdf")).read_bytes().startswith(b"%PDF-")
    table = folder / files.table(name)
    return pd.read_csv(table) if table.is_file() else None


def write_dictionary(path: Path, W_enc: np.ndarray, W_dec: np.ndarray) -> None:
    """Write the model of a run, a ReLU autoencoder with n_q x n_p weights of encoder and decoder."""
    save_model(path, coder(W_enc, W_dec), {})


def write_matrix(path: Path, W: np.ndarray) -> None:
    """Write the true features of a bench, n_p x n."""
    write_with_checksum(path, {"W_p": np.ascontiguousarray(W, dtype=np.float32)}, {})


def write_samples(path: Path, W: np.ndarray, x: Any) -> None:
    """Write a bench's samples, made from the coefficients x, N x n, and features W, n_p x n."""
    write_store(path, input=synthesise(x, W), features=x)


def write_run(folder: Path, files: Files, cell: Cell, W: np.ndarray, both: Sequence[np.ndarray], x: Any) -> None:
    """Write the files of a run on a bench, and the bench: its true features W, and held-out samples with x."""
    write_dictionary(folder / files.model(cell), *both)
    write_matrix(folder / files.feature_matrix(cell.source, cell.seed), W)
    write_samples(folder / files.store(cell.source, cell.seed, "test"), W, x)
