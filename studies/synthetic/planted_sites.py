"""Crosscoders on benches with shared and dedicated features: `python -m studies.synthetic.planted_sites`.

Each bench has 128 features and two or three sites of different widths. Half of the features occur at every site, the
others only at some. A crosscoder should recover the shared features, and the decoder norms of its latents should tell
which features are shared (`sdl.shared_and_dedicated`).

    python -m studies.synthetic.planted_sites                        # resources/kept/crosscoders_planted.csv
    python -m studies.synthetic.planted_sites --sites 2 --seeds 0    # a part: rows of other sites and seeds stay
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse

import sdlcore as sdl
from sdlcore.evaluation.crosscoders import THRESHOLD
from sdlcore.evaluation.recovery import normalise_rows
from studies import KEPT

log = logging.getLogger(__name__)

N = 128
WIDTHS = {2: (96, 80), 3: (96, 80, 72)}
SHARED = N // 2
DEDICATED: dict[int, tuple[tuple[int, ...], ...]] = {2: ((0,), (1,)), 3: ((0,), (1,), (2,), (0, 1))}
"""Sites of the features that are not shared, by the number of sites; equally many features for each entry."""
TRAIN, TEST = 40_000, 10_000
"""Samples."""
TRAINING: dict[str, Any] = {"n_q": 256, "steps": 2000, "batch_size": 512, "lr": 3e-3, "initialisation": "tied"}
TRAINING |= {"normalise": False, "bias": False, "resample_every": None}
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 6},
    "topk, k = 16": {"activation": "topk", "k": 16},
    "batchtopk": {"activation": "batchtopk", "k": 4},
    "relu, l1": {"activation": "relu", "l1": 0.1, "target_l0": 6, "init_l0": 16, "bias": True},
}
KEYS = ["sites", "method", "seed"]
NEAR = 0.9
"""Cosine above which a latent counts as a feature's."""


class Planted(NamedTuple):
    """A bench with several sites."""

    directions: list[np.ndarray]
    """128 unit rows at each site; zero for a feature that does not occur there."""
    occurs: np.ndarray
    """128 x sites booleans."""
    train: list[np.ndarray]
    test: list[np.ndarray]
    """Samples at each site."""


def planted(n_sites: int, seed: int) -> Planted:
    """Draw a bench: features as in `sdl.Bench`, drawn for each site by itself, and equal coefficients at all sites."""
    widths, dedicated = WIDTHS[n_sites], DEDICATED[n_sites]
    benches = [
        sdl.Bench.draw(n=N, n_p=width, sparsity=0.97, max_interference=0.25, seed=10 * seed + site)
        for site, width in enumerate(widths)
    ]
    occurs = np.ones((N, n_sites), dtype=bool)
    for features, sites in zip(np.split(np.arange(SHARED, N), len(dedicated)), dedicated, strict=True):
        occurs[features] = np.isin(np.arange(n_sites), sites)
    directions = [np.where(occurs[:, [site]], bench.W_p.T, 0) for site, bench in enumerate(benches)]
    train, test = benches[0].samples(TRAIN, "train").features, benches[0].samples(TEST, "test").features
    return Planted(directions, occurs, *([_samples(of, rows) for rows in directions] for of in (train, test)))


def _samples(features: scipy.sparse.csr_array, directions: np.ndarray) -> np.ndarray:
    return np.asarray(features @ directions, dtype=np.float32)


def result(n_sites: int, method: str, seed: int) -> dict[str, Any]:
    """Train a crosscoder; return recovery, and how its decoder norms separate shared from dedicated features."""
    bench = planted(n_sites, seed)
    crosscoder = sdl.fit(
        bench.train, pair="crosscoder", seed=seed, device="cpu", progress=False, **TRAINING, **METHODS[method]
    )
    scores = sdl.evaluate(crosscoder, bench.directions, bench.test, nulls=False)
    table = sdl.shared_and_dedicated(crosscoder, bench.test)
    alive = (table["class"] != "dead").to_numpy()
    # features and latents are compared over all sites: a latent of one site alone is no match of a shared feature
    W, W_dec = normalise_rows(np.hstack(bench.directions)), normalise_rows(crosscoder.W_dec.numpy())
    cosines = np.where(alive[:, None], np.abs(W_dec @ W.T), 0)
    shared: np.ndarray = np.asarray(bench.occurs.all(axis=1))
    said = (table["class"] == "shared").to_numpy()
    recovered, own = cosines.max(axis=0) > NEAR, cosines.argmax(axis=0)
    matched, feature = cosines.max(axis=1) > NEAR, cosines.argmax(axis=1)
    present = np.stack([table[f"relative_norm_site{site}"] > THRESHOLD for site in range(n_sites)], axis=1)
    row: dict[str, Any] = {
        "sites": n_sites,
        "method": method,
        "seed": seed,
        "recovery_shared": recovered[shared].mean(),
        "recovery_dedicated": recovered[~shared].mean(),
        "f1_features_shared": f1(shared, said[own]),
        "f1_features_dedicated": f1(~shared, ~said[own]),
        "f1_latents_shared": f1(shared[feature][matched], said[matched]),
        "f1_latents_dedicated": f1(~shared[feature][matched], ~said[matched]),
        "sites_right": (bench.occurs == present[own]).all(axis=1).mean(),
        "alive": int(alive.sum()),
        "matched": int(matched.sum()),
        "l0": scores["l0"],
        "fvu": scores["fvu"],
    }
    return row | {f"recovery_site{site}": scores[f"gt_recovery_decoder_site{site}"] for site in range(n_sites)}


def f1(truth: np.ndarray, found: np.ndarray) -> float:
    """Return the F1 of ``found`` as a detector of ``truth``."""
    return float(2 * (truth & found).sum() / max(1, truth.sum() + found.sum()))


def settings_of(arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    """Yield the number of sites, the method and the seed of each training."""
    for n_sites in arguments.sites:
        for method in arguments.methods:
            for seed in arguments.seeds:
                yield {"n_sites": n_sites, "method": method, "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=list(WIDTHS), choices=WIDTHS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--csv", type=Path, default=KEPT / "crosscoders_planted.csv", help="table to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = arguments.csv
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEYS)
    for settings in settings_of(arguments):
        row = result(**settings)
        log.info("%s", row)
        same = (rows[KEYS] == [row[key] for key in KEYS]).all(axis=1)
        rows = pd.concat([rows[~same], pd.DataFrame([row])], ignore_index=True)
        rows = rows.sort_values(KEYS, ignore_index=True)
        rows.astype({"alive": int, "matched": int}).round(4).to_csv(path, index=False)


if __name__ == "__main__":
    main()
