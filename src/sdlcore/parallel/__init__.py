"""Samples and latents divided among processes."""
