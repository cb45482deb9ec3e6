"""Benches: synthetic data with known true features."""
