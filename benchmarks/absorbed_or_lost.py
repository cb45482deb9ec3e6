"""Shares of anchored parents that are absorbed, lost or kept in a hierarchy: `python -m benchmarks.absorbed_or_lost`.

Absorption also falls if no latent writes the parent any longer. The runs come from the map of anchoring:

    snakemake anchoring_map --cores all --configfile config/anchoring.yaml
    python -m benchmarks.absorbed_or_lost --csv docs/results/anchoring/absorbed_or_lost.csv
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from sdlcore.data.reading import open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.absorption import absorption, match_latents
from sdlcore.model.saving import load_model
from sdlstudy.configuration.loading import read_given, validate
from sdlstudy.results.tables import write_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files

SOURCE = "lrb_hierarchy"


@torch.no_grad()
def shares(files: Files, cell: Cell) -> dict[str, float]:
    """Return the shares of pairs that are absorbed, lost and kept, and the mean decoder norm of the first latents, the
    ones that anchors of parents hold."""
    hierarchy = files.study.sources.bench[SOURCE].hierarchy
    assert hierarchy is not None
    W = load_references(files.feature_matrix(SOURCE, cell.seed)).W_p
    model = load_model(files.model(cell))
    with open_checked(files.store(SOURCE, cell.seed, "test")) as store:
        x, latents = store.features(), model.encode(torch.from_numpy(store.read("input"))).numpy()
    W_dec = model.W_dec.numpy()
    own = match_latents(W_dec, W)
    pairs = pd.DataFrame(absorption(latents[:, own], x, W_dec[own], W, hierarchy))
    known = pairs[pairs["samples"] > 0]
    absorbed, lost = float(known["absorbed"].mean()), float(known["lost"].mean())
    norm = float(model.W_dec[: hierarchy.parents].norm(dim=1).mean())
    return {"absorbed": absorbed, "lost": lost, "kept": 1 - absorbed - lost, "norm": norm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    config = validate(read_given(["config/config.yaml", "config/anchoring.yaml"], {}))
    files = config.files()
    cells = [cell for cell in config.products()["anchoring_map"].cells(config) if cell.source == SOURCE]
    found = [{"method": c.method, "anchoring": c.anchoring, "seed": c.seed, **shares(files, c)} for c in cells]
    means = pd.DataFrame(found).groupby(["method", "anchoring"], sort=False).mean().drop(columns="seed").round(4)
    write_csv(parser.parse_args().csv, means.reset_index())


if __name__ == "__main__":
    main()
