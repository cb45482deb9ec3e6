"""Read metrics of runs into data frames, and restore runs that are kept with the code."""
