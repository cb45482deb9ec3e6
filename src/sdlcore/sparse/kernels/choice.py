"""Choose the backend of the sparse kernels by device."""

from importlib.util import find_spec

import torch

from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.kernels.workspace import Workspace


def kernels_for(device: torch.device, workspace: Workspace | None = None) -> Kernels:
    """Return the kernels for a device: numba's on CPUs, Triton's on GPUs (with torch's CUDA builds), else torch's.

    Callers that compute the same shapes repeatedly, such as training steps, pass a workspace, which CPU kernels use to
    keep buffers between calls.
    """
    if device.type == "cpu":
        return NumbaKernels(workspace)
    if device.type == "cuda" and find_spec("triton") is not None:
        # imported here, because it takes a second
        from sdlcore.sparse.kernels.triton_kernels import TritonKernels

        return TritonKernels()
    return Kernels()
