"""Choose the backend of the sparse kernels by device."""

import torch

from sdlcore.model.kernels.interface import Kernels
from sdlcore.model.kernels.numba_kernels import NumbaKernels
from sdlcore.model.kernels.torch_kernels import TorchKernels
from sdlcore.model.kernels.workspace import Workspace


def kernels_for(device: torch.device, workspace: Workspace | None = None) -> Kernels:
    """Return kernels for tensors on a device.

    Who computes the same shapes again and again, as a training step does, gives them a workspace of its own, which they
    use on a CPU. Without one they keep nothing.
    """
    return NumbaKernels(workspace) if device.type == "cpu" else TorchKernels()
