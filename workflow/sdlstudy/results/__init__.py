"""Read metrics of runs into data frames."""
