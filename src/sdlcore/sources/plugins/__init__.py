"""Sources of activations from plugins."""
