"""Choose the device to compute on."""

import os
from typing import Literal

import torch

from sdlcore.settings import checked

Device = Literal["auto", "cpu", "cuda"]
"""Where a user may ask to compute."""


def choose_device(name: str) -> torch.device:
    """Return the device called cpu, cuda or auto (cuda where torch sees one).

    Of several processes that torchrun started on this machine, each gets a GPU of its own.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no GPU; set device to cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"device: process {number + 1} of this machine has no GPU, of which torch sees {torch.cuda.device_count()};"
            " start no more processes than that, or set device to cpu"
        )
    if number:
        torch.cuda.set_device(number)
    return torch.device("cuda")


def device_of(asked: Device) -> torch.device:
    """Return the device with a name; ValueError for a name that `Device` does not list, such as cuda:1.

    Scripts and commands check the name when they read their options, so `choose_device` does not.
    """
    return choose_device(checked("device", Device, asked))
