"""Compare encoder rows of dictionaries of real models with read-outs of their decoder columns.

The read-out of latent i is (Sigma + rho I)^-1 d_i: Sigma is the covariance of the activations, d_i the decoder column.
Even latents choose rho, odd latents judge.

    python -m studies.language.encoder_law --csv resources/kept/law_real.csv STORE NAME=RUN NAME=RUN ...

Rows are added to the table. A row replaces an earlier row of the same activations, method and seed.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.evaluation.recovery import normalise_rows
from studies.tables import add

ROWS_AT_ONCE = 8192
FEWEST = 10
"""Latents with fewer active samples are left out, since training hardly changed them."""
BOUNDS = (np.log(1e-6), np.log(1e6))
"""Range of log rho. Rho is a share of the mean variance of a coordinate."""
RESAMPLES = 4000


class Basis(NamedTuple):
    """The covariance of activations by its eigenvalues, as shares of their mean, and its eigenvectors in columns."""

    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, covariance: np.ndarray) -> "Basis":
        values, vectors = np.linalg.eigh(covariance)
        return cls(np.maximum(values, 0) / values.mean(), vectors)

    def read_outs(self, directions: np.ndarray, rho: float) -> np.ndarray:
        """Return (Sigma + rho I)^-1 d for each row d, up to a common factor."""
        return np.asarray(((directions @ self.vectors) / (self.values + rho)) @ self.vectors.T)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row with the same row of another matrix."""
    return np.einsum("qd,qd->q", normalise_rows(one), normalise_rows(other))


def fitted_rho(basis: Basis, rows: np.ndarray, directions: np.ndarray) -> float:
    """Return the rho with the largest mean cosine between rows and read-outs of directions."""
    # a rotation keeps cosines, so all products are taken once
    rows, directions = rows @ basis.vectors, directions @ basis.vectors

    def loss(logarithm: float) -> float:
        return -float(cosines(rows, directions / (basis.values + np.exp(logarithm))).mean())

    # the best of a grid first, since the mean may have several maxima
    grid = np.linspace(*BOUNDS, 28)
    best = grid[int(np.argmin([loss(at) for at in grid]))]
    step = grid[1] - grid[0]
    found = scipy.optimize.minimize_scalar(loss, bounds=(best - step, best + step), method="bounded")
    return float(np.exp(found.x))


def measure(basis: Basis, W_enc: np.ndarray, W_dec: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return cosines of encoder rows with decoder columns, with their read-outs, and with null baselines.

    Parameters
    ----------
    basis
        Covariance of the activations.
    W_enc, W_dec
        Encoder rows and decoder columns, n_q x n_p each.
    seed
        Of the null baselines and the intervals.

    Returns
    -------
    Means over the odd latents, whose number is ``latents``. ``decoder``: with d. ``readout``: with
    (Sigma + rho I)^-1 d, where even latents chose ``rho``. ``gain``: readout minus decoder, with its 95 % interval over
    latents, ``gain_low`` to ``gain_high``. ``whitened``: with Sigma^-1 d. ``shuffled``: with the read-out of another
    latent, ``random``: with the read-out of a random direction; each with a rho of its own. ``nearer``: share of
    latents whose row is nearer to the read-out than to d. ``turned``: cosine of d with its read-out.
    """
    rng = np.random.default_rng(seed)
    fit, judge = slice(0, None, 2), slice(1, None, 2)

    def judged(directions: np.ndarray) -> tuple[float, np.ndarray]:
        rho = fitted_rho(basis, W_enc[fit], directions[fit])
        return rho, cosines(W_enc[judge], basis.read_outs(directions[judge], rho))

    rho, readout = judged(W_dec)
    decoder = cosines(W_enc[judge], W_dec[judge])
    means = rng.choice(readout - decoder, (RESAMPLES, len(readout))).mean(1)
    shuffled = judged(W_dec[rng.permutation(len(W_dec))])[1]
    random = judged(rng.standard_normal(W_dec.shape))[1]
    low, high = np.quantile(means, (0.025, 0.975))
    return {
        "latents": len(readout),
        "rho": rho,
        "decoder": float(decoder.mean()),
        "readout": float(readout.mean()),
        "whitened": float(cosines(W_enc[judge], basis.read_outs(W_dec[judge], 1e-6)).mean()),
        "gain": float((readout - decoder).mean()),
        "gain_low": float(low),
        "gain_high": float(high),
        "nearer": float((readout > decoder).mean()),
        "turned": float(cosines(W_dec[judge], basis.read_outs(W_dec[judge], rho)).mean()),
        "shuffled": float(shuffled.mean()),
        "random": float(random.mean()),
    }


def dictionaries(runs: Iterable[str]) -> Iterator[tuple[str, int, sdl.Dictionary]]:
    """Yield method, seed and dictionary of each NAME=RUN or NAME:SEED=RUN."""
    for run in runs:
        name, path = run.split("=", 1)
        method, _, seed = name.partition(":")
        yield method, int(seed or 0), sdl.load(path)


def blocks(store: Any) -> Iterator[np.ndarray]:
    """Yield the activations of a store, some thousand rows at a time."""
    for start in range(0, store.rows, ROWS_AT_ONCE):
        yield store.read("input", start, start + ROWS_AT_ONCE).astype(np.float32)


def covariance_of(store: Any) -> np.ndarray:
    """Return the covariance (n_p x n_p) of a store's activations."""
    total: Any = 0.0
    products: Any = 0.0
    for x in blocks(store):
        wide = x.astype(np.float64)
        total, products = total + wide.sum(0), products + wide.T @ wide
    mean = total / store.rows
    return np.asarray(products / store.rows - np.outer(mean, mean))


@torch.no_grad()
def activity(sae: Any, store: Any, keep: Callable[[Any], None] = lambda codes: None) -> np.ndarray:
    """Return in how many samples each latent is active. Each block's latents are passed on to ``keep``."""
    counts = np.zeros(sae.n_q, dtype=np.int64)
    for x in blocks(store):
        codes = sae.coder.encode_csr(torch.from_numpy(x))
        counts += np.bincount(codes.indices, minlength=sae.n_q)
        keep(codes)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="activations that the dictionaries were trained on")
    parser.add_argument("runs", nargs="+", help="NAME=RUN, or NAME:SEED=RUN, of each dictionary")
    parser.add_argument("--where", default="smollm2", help="name of the activations, for the table")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    asked = parser.parse_args()
    with ActivationStore(asked.store) as store:
        basis = Basis.of(covariance_of(store))
        for method, seed, sae in dictionaries(asked.runs):
            alive = activity(sae, store) >= FEWEST
            W_enc, W_dec = (W.numpy().astype(np.float64)[alive] for W in (sae.W_enc, sae.W_dec))
            found = measure(basis, W_enc, W_dec)
            row = {"activations": asked.where, "method": method, "seed": seed, **found}
            print(row, flush=True)
            add(asked.csv, [row], ["activations", "method", "seed"])


if __name__ == "__main__":
    main()
