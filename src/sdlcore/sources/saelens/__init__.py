"""Synthetic models that SAELens saved, SynthSAEBench's among them: opened and sampled without SAELens."""
