"""The fast path: find the entries of a batch's codes that may differ from zero, and compute there alone."""
