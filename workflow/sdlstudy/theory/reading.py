"""Compare the encoder rows of a trained dictionary with the features that its decoder recovers."""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.recovery import normalise_rows
from sdlstudy.theory.encoder_law import own_cosines, own_products


class Read(NamedTuple):
    """Similarity of encoder rows and the features that their latents decode: means over recovered features."""

    cosine: float
    """Absolute cosine between the feature and the encoder row of the latent whose decoder column is nearest to it."""
    inner_product: float
    """Absolute inner product of that row and the feature, without any scaling."""
    gain: float
    """The same inner product after scaling decoder columns to norm 1: the share of the feature that the latent passes
    on."""
    latents: float
    """Number of decoder columns that recover the feature."""
    cosine_together: float
    """Cosine between the feature and the sum of all recovering latents' rows.

    Each row is weighted by the length of its decoder column along the feature."""
    gain_together: float
    """Inner product of the feature and that sum: the share of the feature that these latents pass on together."""
    ridge: float
    """The ridge whose least-squares read-outs are nearest to the rows, as a share of a coordinate's variance."""
    explained: float
    """Share of the rows' squared length that these read-outs explain."""
    decoder_recovers: float
    """Share of features that some decoder column recovers. The other fields are means over these features."""


def read(W_enc: np.ndarray, W_dec: np.ndarray, W: np.ndarray) -> Read:
    """Compare the encoder rows of an autoencoder with true features; NaN if the dictionary recovers no feature.

    Parameters
    ----------
    W_enc, W_dec
        n_q x n_p encoder rows and decoder columns, by latent.
    W
        n_p x n true features.
    """
    rows, columns = W_enc.astype(np.float64), W_dec.astype(np.float64)
    lengths = np.linalg.norm(columns, axis=1)
    cosines_QD = normalise_rows(columns) @ W
    latent = np.abs(cosines_QD).argmax(axis=0)
    near = recovered(np.abs(cosines_QD[latent, np.arange(W.shape[1])]))
    if not near.any():
        return Read._make([float("nan")] * 8 + [0.0])
    features, latent, cosines_QD = W[:, near], latent[near], cosines_QD[:, near]
    products = np.abs(own_products(rows[latent], features))
    those_QD = recovered(np.abs(cosines_QD))
    together = (np.where(those_QD, cosines_QD, 0.0) * lengths[:, None]).T @ rows
    ridge, explained = nearest_ridge(rows[latent], W, near)
    return Read(
        cosine=float(np.abs(own_cosines(rows[latent], features)).mean()),
        inner_product=float(products.mean()),
        gain=float((products * lengths[latent]).mean()),
        latents=float(those_QD.sum(axis=0).mean()),
        cosine_together=float(own_cosines(together, features).mean()),
        gain_together=float(own_products(together, features).mean()),
        ridge=ridge,
        explained=explained,
        decoder_recovers=float(near.mean()),
    )


def nearest_ridge(rows: np.ndarray, W: np.ndarray, chosen: np.ndarray | None = None) -> tuple[float, float]:
    """Return the noise, or ridge, whose read-outs are nearest to given rows, and the share that they explain.

    Parameters
    ----------
    rows
        m x n_p rows. The lengths and signs of the rows do not matter.
    W
        n_p x n features.
    chosen
        Mask of the m features that the rows belong to, n booleans; all features if left out.

    Returns
    -------
    noise
        See `sdlstudy.theory.encoder_law.law`; between 1e-9 and 1e6.
    explained
        Share of the squared length of the rows, scaled to norm 1, that a common multiple of the read-outs explains.
    """
    n_p, n = W.shape
    row_features = W if chosen is None else W[:, chosen]
    rows = normalise_rows(rows)
    rows = rows * np.sign(own_products(rows, row_features))[:, None]
    values, vectors = np.linalg.eigh(W @ W.T)
    along, features = vectors.T @ rows.T, vectors.T @ row_features
    shared, lengths = (along * features).sum(axis=1), np.square(features).sum(axis=1)

    def explained(logarithm: float) -> float:
        shrunk = 1 / (values + np.exp(logarithm) * n / n_p)
        return float((shared @ shrunk) ** 2 / (lengths @ shrunk**2) / len(rows))

    optimum = scipy.optimize.minimize_scalar(
        lambda logarithm: -explained(logarithm), bounds=(np.log(1e-9), np.log(1e6)), method="bounded"
    )
    return float(np.exp(optimum.x)), explained(optimum.x)
