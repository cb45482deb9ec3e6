"""Sources of activations: fill stores from benches, synthetic worlds, files and plugins."""
