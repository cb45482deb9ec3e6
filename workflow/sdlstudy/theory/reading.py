"""Compare the encoder rows of a trained dictionary with the features that its decoder recovers."""

from typing import NamedTuple

import numpy as np

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
        return Read._make([float("nan")] * 6 + [0.0])
    features, latent, cosines_QD = W[:, near], latent[near], cosines_QD[:, near]
    products = np.abs(own_products(rows[latent], features))
    those_QD = recovered(np.abs(cosines_QD))
    together = (np.where(those_QD, cosines_QD, 0.0) * lengths[:, None]).T @ rows
    return Read(
        cosine=float(np.abs(own_cosines(rows[latent], features)).mean()),
        inner_product=float(products.mean()),
        gain=float((products * lengths[latent]).mean()),
        latents=float(those_QD.sum(axis=0).mean()),
        cosine_together=float(own_cosines(together, features).mean()),
        gain_together=float(own_products(together, features).mean()),
        decoder_recovers=float(near.mean()),
    )
