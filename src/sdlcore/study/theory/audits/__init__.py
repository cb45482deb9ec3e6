"""Checks of each theorem over many random instances."""
