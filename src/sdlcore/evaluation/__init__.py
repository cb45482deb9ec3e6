"""Measure dictionaries: recovery of known directions, and reconstruction of samples that training did not see."""
