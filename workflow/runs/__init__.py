"""Runs of the workflow, whose folders `sdlcore.fit` writes."""
