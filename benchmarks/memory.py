"""Memory of a training step: measurement and budget."""

import re
from pathlib import Path

MIB = 2**20
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


def resident() -> float:
    """Return the resident memory of this process, in MiB."""
    return _status("VmRSS")


def peak() -> float:
    """Return the largest resident memory of this process since `reset_peak`, in MiB."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Reset the peak that `peak` returns (Linux, `man 5 proc_pid_clear_refs`)."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}; memory can be measured on Linux only")
    return int(found[1]) / 1024


def parameters(method: str, dimension: int, latents: int) -> int:
    """Return the number of trained parameters of our methods: both matrices, the biases, and the method's own."""
    matrices = 1 if method == "matching_pursuit" else 2
    per_latent = {"jumprelu": 2, "gated": 3, "lista": 2}.get(method, 1)
    return matrices * latents * dimension + per_latent * latents + dimension


def budget(n_parameters: int, batch: int, dimension: int, latents: int, dtype: str) -> float:
    """Return the budget of our training step in MiB: parameters, Adam's two moments and gradients in float32, the
    batch, and one batch x latents buffer in the encoder's type.
    """
    return (4 * 4 * n_parameters + 4 * batch * dimension + BYTES[dtype] * batch * latents) / MIB
