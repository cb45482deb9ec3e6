"""Embeddings of images by CLIP models."""
