"""Find planted differences between two models, beside null baselines: `python -m studies.synthetic.two_models`.

The two synthetic models, ``base`` and ``chat``, have 48 dimensions and see the same samples. Of 64 named features, 49
occur in both, 5 in both but in chat with .3 of their strength, 5 in base alone and 5 in chat alone. Latents that
`sdl.shared_and_dedicated` calls dedicated to one model should be named after the features of this model alone.

Baselines show what the same rule reports without a difference: two copies of base, base beside chat in a shuffled
order, as many latents drawn at random, and an untrained crosscoder.

    python -m studies.synthetic.two_models                             # resources/kept/crosscoders_two_models.csv
    python -m studies.synthetic.two_models --methods topk --seeds 0    # a part: rows of other methods and seeds stay
"""

import argparse
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse

import sdlcore as sdl
from sdlstudy.results.tables import read_csv, write_csv
from studies import KEPT

log = logging.getLogger(__name__)

WIDTH, FEATURES = 48, {"shared": 49, "weak in chat": 5, "base": 5, "chat": 5}
"""Dimensions of each model, and numbers of features by the kind that begins their names."""
WEAK = 0.3
"""Strength in chat of the features that are weak there."""
DRIFT, NOISE = 0.3, 0.02
"""Norm of the random vector that moves each unit direction from base to chat, and noise of each dimension."""
TRAIN, TEST = 20_000, 10_000
"""Samples."""
TRAINING: dict[str, Any] = {"n_q": 128, "steps": 1000, "batch_size": 512, "lr": 3e-3, "initialisation": "tied"}
TRAINING |= {"normalise": True, "resample_every": None, "progress": False, "device": "cpu"}
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 4},
    "relu": {"activation": "relu", "l1": 0.1, "target_l0": 4, "init_l0": 8},
}
NAMED = 0.5
"""F1 between the activity of a latent and the presence of a feature above which the latent gets the feature's name."""
ABSENT = 0.2
"""Latent scaling at a site up to which a latent is absent there; the rule of norms has the same threshold."""
RULES = ("norms", "norms and scaling")
ARMS = ("planted", "copies", "shuffled", "untrained", "random")
KEYS = ["arm", "method", "seed", "rule"]
COUNTS = ["alive", "dedicated", "right", "found", "weak"]


class Models(NamedTuple):
    """Activations of base and chat for the same samples."""

    names: np.ndarray
    """Names of the features."""
    directions: list[np.ndarray]
    """Directions of the features in each model, as long as they are strong; zero where they do not occur."""
    train: list[np.ndarray]
    test: list[np.ndarray]
    present: np.ndarray
    """Test samples x features booleans."""


def models(seed: int, arm: str) -> Models:
    """Draw both models; the arm ``copies`` draws base twice with different noise, ``shuffled`` reorders chat."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(list(FEATURES), list(FEATURES.values()))
    names = np.array([f"{kind} {number}" for kind, count in FEATURES.items() for number in range(count)])
    bench = sdl.Bench.draw(n=len(names), n_p=WIDTH, sparsity=0.96, max_interference=0.25, seed=seed)
    base = bench.W_p.T
    moved = base + DRIFT * rng.standard_normal(base.shape) / WIDTH**0.5
    chat = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    base, chat = np.where((kinds == "chat")[:, None], 0, base), np.where((kinds == "base")[:, None], 0, chat)
    chat = np.where((kinds == "weak in chat")[:, None], WEAK, 1) * chat
    directions = [base, base if arm == "copies" else chat]
    train, test = bench.samples(TRAIN, "train").features, bench.samples(TEST, "test").features
    x_train, x_test = ([_activations(part, rows, rng) for rows in directions] for part in (train, test))
    if arm == "shuffled":
        x_train[1], x_test[1] = rng.permutation(x_train[1]), rng.permutation(x_test[1])
    return Models(names, directions, x_train, x_test, test.toarray() > 0)


def _activations(features: scipy.sparse.csr_array, directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = NOISE * rng.standard_normal((features.shape[0], WIDTH))
    return np.asarray(features @ directions + noise, dtype=np.float32)


def measure(method: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each arm and rule."""
    for arm in ARMS[:-1]:
        both = models(seed, arm)
        settings = TRAINING | METHODS[method] | ({"steps": 1, "lr": 1e-9} if arm == "untrained" else {})
        crosscoder = sdl.fit(both.train, seed=seed, **settings)
        table = sdl.shared_and_dedicated(crosscoder, both.test)
        named = names_of_latents(crosscoder, both)
        for rule in RULES:
            dedicated = dedicated_to(table, rule)
            counts = {"alive": int((table["class"] != "dead").sum())}
            yield dict(zip(KEYS, (arm, method, seed, rule), strict=True)) | counts | judged(dedicated, named)
            if arm == "planted":
                drawn = shuffled_among_alive(dedicated, table, seed)
                yield dict(zip(KEYS, ("random", method, seed, rule), strict=True)) | counts | judged(drawn, named)


def dedicated_to(table: pd.DataFrame, rule: str) -> np.ndarray:
    """Return the model that each latent is dedicated to, "base" or "chat"; empty for other latents.

    The rule of norms and scaling also requires that both latent scalings at the other model are at most `ABSENT`.
    """
    dedicated = table["class"].map({"site 0": "base", "site 1": "chat"}).fillna("").to_numpy(dtype=object)
    if rule == "norms":
        return dedicated
    for model, other in (("base", 1), ("chat", 0)):
        scalings = table[[f"scaling_error_site{other}", f"scaling_reconstruction_site{other}"]].to_numpy()
        dedicated[(dedicated == model) & (np.abs(scalings) > ABSENT).any(axis=1)] = ""
    return dedicated


def names_of_latents(crosscoder: sdl.Dictionary, both: Models) -> np.ndarray:
    """Return the name of the feature whose presence each latent's activity matches best; empty below `NAMED`."""
    active = crosscoder.encode(both.test, sparse=True) > 0
    together = active.astype(np.float64).T @ both.present.astype(np.float64)
    f1 = 2 * together / np.maximum(1, active.sum(axis=0)[:, None] + both.present.sum(axis=0))
    return np.where(f1.max(axis=1) > NAMED, both.names[f1.argmax(axis=1)], "")


def shuffled_among_alive(dedicated: np.ndarray, table: pd.DataFrame, seed: int) -> np.ndarray:
    """Give the classes of the latents to other latents that are not dead, at random."""
    drawn, alive = dedicated.copy(), np.flatnonzero(table["class"] != "dead")
    drawn[alive] = np.random.default_rng(seed).permutation(dedicated[alive])
    return drawn


def judged(dedicated: np.ndarray, named: np.ndarray) -> dict[str, Any]:
    """Count dedicated latents: all, those with the name of a feature of their model alone, and such features."""
    right = [bool(model) and name.startswith(f"{model} ") for model, name in zip(dedicated, named, strict=True)]
    return {
        "dedicated": int((dedicated != "").sum()),
        "right": int(sum(right)),
        "found": len(set(named[right])),
        "weak": int(sum(name.startswith("weak") for name in named[dedicated != ""])),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--csv", type=Path, default=KEPT / "crosscoders_two_models.csv", help="table to write")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = read_csv(options.csv) if options.csv.exists() else pd.DataFrame(columns=KEYS)
    for method, seed in product(options.methods, options.seeds):
        measured = pd.DataFrame(measure(method, seed))
        log.info("%s", measured.to_string(index=False))
        rows = pd.concat([rows[(rows["method"] != method) | (rows["seed"] != seed)], measured], ignore_index=True)
        rows = rows.astype(dict.fromkeys(COUNTS, int)).sort_values(KEYS)
        write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
