"""Metrics of a trained model: against the ground truth, and of its reconstruction on samples that it did not see."""
