"""Choose the backend of the sparse kernels by device."""

from importlib.util import find_spec

import torch

from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.kernels.torch_kernels import TorchKernels
from sdlcore.sparse.kernels.workspace import Workspace


def kernels_for(device: torch.device, workspace: Workspace | None = None) -> Kernels:
    """Return kernels for tensors on a device: numba's on a CPU, Triton's on a GPU that torch calls cuda, else torch's.

    Triton comes with torch's builds for CUDA. Where it is missing, torch's operators compute. An error in it is raised.

    Who computes the same shapes again and again, as a training step does, gives them a workspace of its own, which they
    use on a CPU. Without one they keep nothing.
    """
    if device.type == "cpu":
        return NumbaKernels(workspace)
    if device.type == "cuda" and find_spec("triton") is not None:
        # imported here, since it takes a second
        from sdlcore.sparse.kernels.triton_kernels import TritonKernels

        return TritonKernels()
    return TorchKernels()
