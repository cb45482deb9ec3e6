"""Divide samples or latents among processes."""
