"""A verdict on each number and claim of the paper, by rules that see only frames of runs and the paper's own tables."""
