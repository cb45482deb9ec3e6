"""Choose the torch device."""

import os
from typing import Literal

import torch

from sdlcore.settings import checked

Device = Literal["auto", "cpu", "cuda"]
"""Devices that users can choose."""


def choose_device(name: str) -> torch.device:
    """Return the torch device for ``cpu``, ``cuda`` or ``auto`` (CUDA if torch sees a GPU, else the CPU).

    If torchrun started several processes on this machine, each gets its own GPU.

    Raises
    ------
    ValueError
        If ``cuda`` is named but torch sees no GPU, or there are more processes than GPUs.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no GPU; set device to cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"device: process {number + 1} on this machine has no GPU, since torch sees {torch.cuda.device_count()}; "
            "start one process for each GPU, or set device to cpu"
        )
    if number:
        torch.cuda.set_device(number)
    return torch.device("cuda")


def device_of(device: str | torch.device) -> torch.device:
    """Check a device and return it: one of `Device`, a numbered GPU such as ``cuda:1``, or another device of torch.

    A numbered GPU becomes the current one of this thread, on which kernels run. ValueError if torch sees no such GPU.
    """
    if isinstance(device, torch.device) and device.type != "cuda":
        return device
    kind, _, number = str(device).partition(":")
    chosen = choose_device(checked("device", Device, kind))
    if not number or chosen.type != "cuda":
        return chosen
    if number not in map(str, range(torch.cuda.device_count())):
        raise ValueError(f"device is {device}, but torch sees {torch.cuda.device_count()} GPUs, counted from cuda:0")
    torch.cuda.set_device(int(number))
    return torch.device("cuda", int(number))
