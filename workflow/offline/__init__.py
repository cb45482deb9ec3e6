"""Replacements for a model hub that cannot be reached: a small CLIP, and pictures to train it on."""
