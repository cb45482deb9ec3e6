"""Use a dictionary inside a language model: splice it in, steer, ablate, and find the contexts of its latents."""
