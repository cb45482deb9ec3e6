"""Load and sample SAELens' synthetic models, such as SynthSAEBench, without SAELens."""
