"""Loss terms: pure functions, one module each, combined by `total.py`."""
