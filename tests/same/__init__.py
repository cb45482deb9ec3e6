"""Run the pipeline on two versions of the code, and list every number that differs."""
