"""The model of Definition 2.5: encoder, sigma, decoder."""

from sdlcore.model.sparse_coder import Auxiliary, Forward, Scales, SparseCoder, load_model, save_model

__all__ = ["Auxiliary", "Forward", "Scales", "SparseCoder", "load_model", "save_model"]
