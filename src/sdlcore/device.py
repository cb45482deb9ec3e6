"""Choose the torch device."""

import os
from typing import Literal, TypeAlias

import torch

from sdlcore.settings import checked

Device: TypeAlias = str
"""auto, cpu, cuda, or a numbered GPU such as cuda:1."""


def choose_device(device: Device | torch.device) -> torch.device:
    """Return the torch device: ``cpu``, ``cuda``, ``auto`` (CUDA if torch sees a GPU, else the CPU), ``cuda:1``, ...

    Under torchrun, each process gets a GPU of its own. A numbered GPU, and the GPU of a
    process, become the current one of this thread, on which kernels run.

    Raises
    ------
    ValueError
        If the device is unknown, torch sees no such GPU, or torchrun gives this process another one.
    """
    if isinstance(device, torch.device) and device.type != "cuda":
        return device
    kind, _, number = str(device).partition(":")
    kind = checked("device", Literal["auto", "cpu", "cuda"], kind)
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no GPU; set device to cpu or auto")
    if kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    index = os.environ.get("LOCAL_RANK", number)
    if number and number != index:
        raise ValueError(f"device is {device}, but torchrun gives this process cuda:{index}; set device to cuda")
    if index and index not in map(str, range(torch.cuda.device_count())):
        raise ValueError(
            f"device: there is no cuda:{index}: torch sees {torch.cuda.device_count()} GPUs, counted from cuda:0; "
            + ("choose another" if number else "start one process for each GPU")
        )
    if index:
        torch.cuda.set_device(int(index))
    return torch.device(f"cuda:{number}" if number else "cuda")
