"""The built-in activation functions; each module has the activation's name in configurations (`registry.py`)."""
