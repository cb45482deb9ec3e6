"""Activations that other programs have written to files."""
