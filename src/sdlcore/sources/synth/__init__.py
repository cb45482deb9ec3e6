"""The distribution of SynthSAEBench: frequent and rare, correlated, nested and superposed features, at any size."""
