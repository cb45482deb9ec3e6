"""Sparse kernels: the part of a dictionary model that touches only active latents.

`interface.Kernels` says what a backend computes. On the CPU loops compiled by numba do, on GPUs kernels in Triton, and
elsewhere torch operators; `choice.kernels_for` chooses.
"""
