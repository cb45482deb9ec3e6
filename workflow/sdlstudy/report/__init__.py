"""The report: one page with everything that a configuration makes."""
