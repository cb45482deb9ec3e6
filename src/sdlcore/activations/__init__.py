"""Activations: the HDF5 store that all training data comes in, and what fills it from real models."""
