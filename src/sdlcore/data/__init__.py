"""Activation stores, batches from them, and the directions that dictionaries are judged against and anchored to."""
