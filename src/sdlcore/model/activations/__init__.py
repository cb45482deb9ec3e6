"""The built-in activation functions; each module is named like its activation in configurations (`registry.py`)."""
