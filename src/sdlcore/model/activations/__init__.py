"""Activation functions, each a module that is called as configurations call it (`registry.py`)."""
