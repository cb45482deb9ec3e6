"""The model of Definition 2.5: encoder, sigma, decoder."""

from sdlcore.model.saving import load_model, load_provenance, save_model
from sdlcore.model.sparse_coder import Auxiliary, Forward, Scales, SparseCoder

__all__ = ["Auxiliary", "Forward", "Scales", "SparseCoder", "load_model", "load_provenance", "save_model"]
