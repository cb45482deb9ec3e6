"""Data frames into pictures and text."""
