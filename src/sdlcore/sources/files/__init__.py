"""Activations from files that other programs wrote."""
