"""A verdict on each number and claim of the paper. The rules read only data frames of runs and the paper's tables."""
