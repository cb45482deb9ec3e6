"""Do dictionaries still code samples whose combinations of features never occurred in training?

    python -m studies.synthetic.held_out_combinations pilot resources/kept/held_out_combinations_pilot.csv
    python -m studies.synthetic.held_out_combinations runs resources/kept/held_out_combinations.csv

Barin Pacela et al. (arXiv 2603.28744) find that sparse autoencoders fail on new combinations of features, that FISTA
on the same rows does not close the gap, that true rows do, and name scalable dictionary learning as the open problem.
This study asks whether refined rows (`sdl.refine`) or alternating convex search close it. The worlds are our own: the
paper's question, not its data.

A world (`WORLDS`) has n unit directions, drawn at random, in n_p dimensions, and four groups of n / 4 features. A
sample adds 8 or 16 features with strengths between .5 and 1.5, and Gaussian noise. In training, and in the test
``seen``, all come from one group. In the test ``new`` they come from all features, so nearly every pair of
groups is a new combination.

Each row of the table is a choice of rows and of codes:

- rows: TopK autoencoders (2 n latents), the same refined, alternating convex search (from 2 n atoms), k-means, random
  samples, random directions, true directions
- codes: the dictionary's own encoder; OMP with the threshold of the true L0 on training samples; FISTA with
  non-negative codes, at the penalty of `PENALTIES` with the highest MCC on ``seen``, which favours FISTA, since this
  choice uses the true features

Measures: recovery is the share of true directions that a row matches with a cosine above .9. MCC is the mean
correlation of a feature's strength with the code of its latent, where rows and features are matched one to one by
cosine. F1 compares the pattern of active latents with the active features under the same matches.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import sdlcore as sdl
from studies import tables

WORLDS = {
    "sparse": (1024, 128, 8, 100_000),
    "few samples": (1024, 128, 8, 20_000),
    "dense": (256, 128, 8, 100_000),
    "denser": (256, 128, 16, 100_000),
}
"""Number of features, dimensions, active features of a sample, and training samples."""
GROUPS, NOISE, TEST = 4, 0.01, 2000
"""Groups of features, noise of a dimension, and samples of a test."""
PENALTIES = (0.02, 0.05, 0.1)
"""Penalties of FISTA, for samples as they are and rows of norm 1."""
ITERATIONS = 200
BY_FISTA = ("TopK", "acs", "random samples", "true")
"""Rows that FISTA codes; it takes most of the time."""
STEPS, BATCH = 6000, 1024
RATES = (3e-4, 1e-3, 3e-3)
RATE = {"sparse": 3e-3, "few samples": 3e-4, "dense": 3e-3, "denser": 3e-3}
"""Learning rate of the autoencoders: the best of `RATES` in the pilot by reconstruction error, on seed 900."""
ACTIVE_ABOVE = 0.1
"""Codes above it count as active, for rows of norm 1; the smallest strength is .5, and FISTA approaches zero slowly."""
KEYS = ("world", "seed", "rows", "codes", "test")


class World(NamedTuple):
    """True directions (n x n_p), features of a sample, training samples, and samples and strengths by test."""

    directions: np.ndarray
    k: int
    train: np.ndarray
    tests: dict[str, tuple[np.ndarray, np.ndarray]]


def draw_world(name: str, seed: int) -> World:
    """Draw a world with training samples and both tests."""
    n, n_p, k, samples = WORLDS[name]
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n, n_p))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    train, _ = draw(directions, k, samples, "seen", rng)
    return World(directions, k, train, {test: draw(directions, k, TEST, test, rng) for test in ("seen", "new")})


def draw(
    directions: np.ndarray, k: int, samples: int, test: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (N x n_p), and for a test also strengths (N x n), in float32."""
    n, n_p = directions.shape
    pool = n // GROUPS if test == "seen" else n
    first = pool * rng.integers(0, n // pool, samples)
    places = first[:, None] + np.stack([rng.permutation(pool)[:k] for _ in range(samples)])
    strengths = rng.uniform(0.5, 1.5, places.shape)
    x = np.empty((samples, n_p), np.float32)
    for part in np.array_split(np.arange(samples), max(1, samples // 5000)):
        x[part] = np.einsum("sk,skp->sp", strengths[part], directions[places[part]])
    x += NOISE * rng.standard_normal(x.shape, np.float32)
    truth = np.zeros((samples, n) if samples <= TEST else (0, n), np.float32)
    if len(truth):
        np.put_along_axis(truth, places, strengths.astype(np.float32), 1)
    return x, truth


def autoencoder(x: np.ndarray, n: int, k: int, seed: int, rate: float) -> sdl.Dictionary:
    """Train a TopK autoencoder with 2 n latents."""
    size: dict[str, Any] = {"n_q": 2 * n, "k": k, "steps": STEPS, "batch_size": BATCH, "lr": rate}
    return sdl.fit(x, activation="topk", seed=seed, progress=False, device="cpu", **size)


def rows_by_name(drawn: World, seed: int, rate: float) -> Iterator[tuple[str, Any, float]]:
    """Yield the name of rows, a dictionary or an array with them, and the core-seconds that they took."""
    x, (n, n_p) = drawn.train, drawn.directions.shape
    rng = np.random.default_rng([seed, 1])
    start = process_time()
    sae = autoencoder(x, n, drawn.k, seed, rate)
    trained = process_time() - start
    yield "TopK", sae, trained
    start = process_time()
    refined = sdl.refine(sae, x, seed=seed, progress=False)
    yield "TopK, refined", refined, trained + process_time() - start
    for solver in ("acs", "kmeans"):
        start = process_time()
        solved = sdl.solve(x, solver, n_atoms=2 * n, support=2 * drawn.k, seed=seed, progress=False)
        yield solver, solved, process_time() - start
    yield "random samples", x[rng.choice(len(x), 2 * n, replace=False)], 0.0
    yield "random directions", rng.standard_normal((2 * n, n_p), np.float32), 0.0
    yield "true", drawn.directions, 0.0


def measured(world: str, seed: int) -> list[dict[str, Any]]:
    """Return the table's rows of one world."""
    drawn, found = draw_world(world, seed), []
    for name, rows, seconds in rows_by_name(drawn, seed, RATE[world]):
        atoms = np.asarray(rows.W_dec if isinstance(rows, sdl.Dictionary) else rows, dtype=np.float64)
        bias = np.asarray(rows.b_dec if isinstance(rows, sdl.Dictionary) else np.zeros(atoms.shape[1]), np.float32)
        norms = np.linalg.norm(atoms, axis=1, keepdims=True)
        directions = atoms / np.maximum(norms, 1e-12)
        cosines = directions @ drawn.directions.T
        facts = {"world": world, "seed": seed, "rows": name, "latents": len(directions), "core_seconds": seconds}
        facts |= {"recovery": float((cosines.max(0) > 0.9).mean()), "cosine": float(cosines.max(0).mean())}
        latents, features = linear_sum_assignment(cosines, maximize=True)
        matches = latents[np.argsort(features)]
        codings = {"OMP": by_omp(directions, bias, drawn)}
        if name in BY_FISTA:
            codings["FISTA"] = by_fista(directions, bias, drawn, matches)
        if isinstance(rows, sdl.Dictionary):
            scale = norms[:, 0].astype(np.float32)
            codings["own"] = {test: rows.encode(x) * scale for test, (x, _) in drawn.tests.items()}
        for codes, (test, (x, truth)) in product(codings, drawn.tests.items()):
            scores = score(x - bias, truth, codings[codes][test], directions, matches)
            found.append({**facts, "codes": codes, "test": test, **scores})
    return found


def by_omp(directions: np.ndarray, bias: np.ndarray, drawn: World) -> dict[str, np.ndarray]:
    """Code both tests by OMP whose threshold gives the true L0 on training samples."""
    coder = sdl.SparseCoder(n_p=len(bias), n_q=len(directions), activation="topk", k=drawn.k)
    with torch.no_grad():
        coder.W_dec.copy_(torch.from_numpy(directions))
        coder.b_dec.copy_(torch.from_numpy(bias))
    rows = sdl.Dictionary(coder)
    searched = sdl.search(rows, drawn.train, "omp", l0=drawn.k, n_samples=8192, progress=False)
    return {test: searched.encode(x) for test, (x, _) in drawn.tests.items()}


def by_fista(directions: np.ndarray, bias: np.ndarray, drawn: World, matches: np.ndarray) -> dict[str, np.ndarray]:
    """Code both tests by FISTA with the penalty that gives the highest MCC on ``seen``."""
    tests = {test: x - bias for test, (x, _) in drawn.tests.items()}
    tried = {penalty: fista(tests["seen"], directions, penalty) for penalty in PENALTIES}
    _, truth = drawn.tests["seen"]
    best = max(tried, key=lambda penalty: correlation(tried[penalty][:, matches], truth))
    return {"seen": tried[best], "new": fista(tests["new"], directions, best)}


def fista(x: np.ndarray, directions: np.ndarray, penalty: float) -> np.ndarray:
    """Minimise |x - c D|^2 / 2 + penalty |c|_1 over c >= 0 by FISTA (Beck and Teboulle 2009)."""
    rows, samples = torch.from_numpy(directions).float(), torch.from_numpy(x)
    step = 1 / float(torch.linalg.matrix_norm(rows, 2)) ** 2
    codes = ahead = torch.zeros(len(samples), len(rows))
    momentum = 1.0
    for _ in range(ITERATIONS):
        gradient = (ahead @ rows - samples) @ rows.T
        new: Tensor = (ahead - step * (gradient + penalty)).clamp(min=0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - codes)
        codes, momentum = new, following
    return codes.numpy()


def score(
    x: np.ndarray, truth: np.ndarray, codes: np.ndarray, directions: np.ndarray, matches: np.ndarray
) -> dict[str, float]:
    """Return FVU, L0, MCC and F1 of codes of a test."""
    rest = x - codes @ directions
    active, present = codes > ACTIVE_ABOVE, truth > 0
    right = (active[:, matches] & present).sum()
    return {
        "fvu": float((rest**2).sum() / ((x - x.mean(0)) ** 2).sum()),
        "l0": float(active.sum(1).mean()),
        "mcc": correlation(codes[:, matches], truth),
        "f1": float(2 * right / (active.sum() + present.sum())),
    }


def correlation(codes: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean correlation of each feature's strength with its latent's code; 0 for a constant code."""
    codes, truth = codes - codes.mean(0), truth - truth.mean(0)
    norms = np.linalg.norm(codes, axis=0) * np.linalg.norm(truth, axis=0)
    return float(np.mean((codes * truth).sum(0) / np.maximum(norms, 1e-12)))


def pilot(world: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the reconstruction error of an autoencoder on ``seen`` for each learning rate."""
    drawn = draw_world(world, seed)
    x, _ = drawn.tests["seen"]
    for rate in RATES:
        sae = autoencoder(drawn.train, len(drawn.directions), drawn.k, seed, rate)
        fvu = float(((x - sae.reconstruct(x)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
        cosines = np.asarray(torch.nn.functional.normalize(sae.W_dec)) @ drawn.directions.T
        yield {"world": world, "seed": seed, "lr": rate, "fvu": fvu, "recovery": float((cosines.max(0) > 0.9).mean())}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("pilot", "runs"))
    parser.add_argument("csv", type=Path, help="table to write")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    keys = KEYS if options.part == "runs" else ("world", "seed", "lr")
    for world, seed in product(options.worlds, options.seeds if options.part == "runs" else [900]):
        for row in measured(world, seed) if options.part == "runs" else pilot(world, seed):
            tables.add(options.csv, [row], keys)


if __name__ == "__main__":
    main()
