"""Sparse kernels: the part of a dictionary model that touches only active latents.

`interface.Kernels` has the operations by torch. CPUs replace them by loops that numba compiled, and GPUs the sums by a
Triton kernel; `choice.kernels_for` chooses.
"""
