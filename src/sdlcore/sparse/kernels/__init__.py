"""Sparse kernels: the part of a dictionary model that touches only active latents.

`interface.Kernels` defines the interface of backends. CPUs use loops compiled by numba, GPUs use Triton kernels, and
other devices use torch operators; `choice.kernels_for` chooses.
"""
