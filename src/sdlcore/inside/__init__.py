"""Look into a language model through a dictionary: splice, steer, ablate, and read what its latents respond to."""
