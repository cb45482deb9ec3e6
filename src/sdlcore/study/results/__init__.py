"""Metrics of runs as data frames, and the runs that are kept with the code."""
