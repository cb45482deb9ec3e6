"""SynthSAEBench's distribution at any size: frequent and rare, correlated, nested and superposed features."""
