"""The version of this source code, which `pyproject.toml` reads from here."""

__version__ = "0.1.0"
"""Not read from an installation's metadata, which may describe another version than a checkout on PYTHONPATH."""
