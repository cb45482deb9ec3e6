"""Activation stores, batches from them, and the directions that dictionaries are anchored to and judged against."""
