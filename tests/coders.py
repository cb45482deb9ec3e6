"""Dictionaries with given weights."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder


def coder(W_enc: ArrayLike, W_dec: ArrayLike, **settings: Any) -> SparseCoder:
    """Return a dictionary with weights of n_q x n_p and n_q x n_r; ReLU by default."""
    encoder, decoder = (torch.from_numpy(np.asarray(W)) for W in (W_enc, W_dec))
    model = SparseCoder.from_config(ModelConfig(n_q=len(encoder), **settings), (encoder.shape[1],), (decoder.shape[1],))
    with torch.no_grad():
        model.W_enc.copy_(encoder)
        model.W_dec.copy_(decoder)
    return model.eval()
