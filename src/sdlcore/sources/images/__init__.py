"""Image embeddings by CLIP models."""
