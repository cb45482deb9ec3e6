"""Extract activations from language models that read a text."""
