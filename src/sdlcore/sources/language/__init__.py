"""Activations of language models over a text."""
