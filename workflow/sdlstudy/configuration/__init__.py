"""Read, check and expand configurations, and estimate the cost of their runs."""
