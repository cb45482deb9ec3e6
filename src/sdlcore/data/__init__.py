"""Activation stores, batches from them, and reference directions for evaluation and anchors."""
