"""Checks of the paper's theorems by computation, and the law for the cosine of encoder rows with features."""
