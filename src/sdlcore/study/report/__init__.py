"""The report: one page of everything that a configuration makes."""
