"""Measure the share of pre-activations that a cheap bound excludes from a TopK search: `python -m benchmarks.skipping`.

A search could skip a product if an upper bound of w . x + b is below the sample's k-th largest pre-activation. The
command tests three kinds of bounds on dictionaries and held-out samples of the default run. It also reports the
multiplications for each bound, as a share of the product's:

    make run
    python -m benchmarks.skipping --results results/quick --csv benchmarks/results/skipping.csv
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from sdlcore.data.reading import open_checked
from sdlcore.model.saving import load_model
from sdlcore.random_streams import torch_stream
from sdlcore.sparse import screening
from sdlcore.sparse.kernels import tiles
from sdlcore.sparse.kernels.interface import Product
from sdlcore.sparse.kernels.workspace import Workspace
from sdlstudy.results.tables import write_csv

SAMPLES = 512
GROUP = 16
"""Latents per group."""
ROUNDS = 10
"""Rounds of Lloyd's algorithm, which forms the groups."""
RUNS = {"lrb/topk": "lrb/seed0", "fashion_clip/topk": "fashion_clip", "smollm2/topk_real": "smollm2"}
"""The dictionaries, and the samples to test each with."""
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Shares of the dimensions that a projection keeps."""


class Bound(NamedTuple):
    """Upper bounds of pre-activations."""

    name: str
    cost: float
    """Multiplications, as a share of the product's."""
    values: Tensor
    """B x n_q."""


def bounds(x: Tensor, W: Tensor, b: Tensor) -> Iterator[Bound]:
    """Yield every kind of bound for samples (B x n_p), an encoder (n_q x n_p) and its bias (n_q)."""
    norms_B = x.norm(dim=1, keepdim=True)
    group_Q, centres = grouped(W, max(1, len(W) // GROUP))
    radius_Q = (W - centres[group_Q]).norm(dim=1)
    yield Bound("groups", 1 / GROUP, (x @ centres.T)[:, group_Q] + norms_B * radius_Q + b)

    axes = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)
    x_turned, W_turned = x @ axes, W @ axes
    for share in SHARES:
        kept = round(share * x.shape[1])
        rest_B, rest_Q = (turned[:, kept:].norm(dim=1) for turned in (x_turned, W_turned))
        leading = x_turned[:, :kept] @ W_turned[:, :kept].T
        yield Bound("principal directions", share, leading + rest_B[:, None] * rest_Q + b)

    product = tiles.Tiles(screening.upper(Product(x, W, b, torch.float32)), Workspace())
    counted = torch.cat([tile.clone() for _, tile in product], 1) * product.of_rows[:, :1] * product.of_columns[0]
    yield Bound("int8", 1.0, counted + product.of_rows[:, 1:] @ product.of_columns[1:] + product.bias)


def grouped(W: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the group of each row and the groups' centres (Lloyd's algorithm, from random rows)."""
    centres = W[torch.randperm(len(W), generator=torch_stream(0, "groups"))[:number]].clone()
    group = torch.zeros(len(W), dtype=torch.long)
    for _ in range(ROUNDS):
        group = torch.cdist(W, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, group, W)
        counts = torch.bincount(group, minlength=number)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return torch.cdist(W, centres).argmin(1), centres


def measure(source: str, model: Path, store: Path) -> list[dict[str, object]]:
    """Return a row for each bound: the share of pre-activations that it does not exclude."""
    coder = load_model(model)
    with open_checked(store) as opened:
        x = torch.from_numpy(opened.read("input", 0, SAMPLES).astype("float32"))
    W, b, k = coder.W_enc.detach(), coder.b_enc.detach(), coder.config.k
    if k is None:
        raise ValueError(f"{model}: bounds are held against the k-th largest pre-activation, and there is no k")
    pre = x @ W.T + b
    least_B = pre.topk(k).values[:, -1:]
    rows: list[dict[str, object]] = []
    for name, cost, upper_BQ in bounds(x, W, b):
        left = float((upper_BQ >= least_B).double().mean())
        rows.append({"source": source, "bound": name, "cost": cost, "left": left, "kept": k / len(W)})
        logging.info("%-14s %-22s %.3f of the cost leaves %.4f; k is %.4f", *rows[-1].values())
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/quick"), help="of the default run")
    parser.add_argument("--csv", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = []
    for run, store in RUNS.items():
        model = arguments.results / "runs" / run / "best/none/seed0/model.safetensors"
        rows += measure(run.split("/")[0], model, arguments.results / "activations" / store / "test.h5")
        write_csv(arguments.csv, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
