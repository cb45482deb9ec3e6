"""Loss terms: pure functions, a module each, put together by `total.py`."""
