"""Sources of activations: fill stores from benches, language models, images, files and plugins."""
