"""The fast path: find the entries of a batch's codes that may be nonzero, and compute only those."""
