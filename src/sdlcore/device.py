"""Where to compute."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the device called cpu, cuda or auto (cuda where torch sees one)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no GPU; set device to cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
