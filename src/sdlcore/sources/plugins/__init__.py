"""Sources that plugins add."""
