"""Compile all of Triton's kernels for a card that is not present, with the arguments of trainings; print their names.

Compiling needs no GPU: it goes all the way to the card's machine code. Kernels are not launched, so their results are
arbitrary memory, or zero.
"""

import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from sdlcore.sparse.kernels.triton_kernels import TritonKernels

B, N_P, N_Q, K = 256, 768, 2048, 64


class Absent:
    """A Triton driver for a card of a given compute capability."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_all(capability: int) -> set[str]:
    """Return the names of the compiled kernels."""
    names = set()
    run = JITFunction.run

    def compiling(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *arguments, grid=grid, warmup=True, **options)
        if "cubin" in kernel.asm:
            names.add(self.__name__)
        return kernel

    JITFunction.run = compiling
    driver.set_active(Absent(capability))
    kernels = TritonKernels()
    x, W = torch.randn(B, N_P), torch.randn(N_Q, N_P)
    offsets, columns, values = torch.arange(B + 1) * K, torch.randint(0, N_Q, (B * K,)).int(), torch.randn(B * K)
    by_latent = kernels.transpose(offsets, columns, N_Q)
    kernels.gather_sum(offsets, columns, values, W)
    kernels.dots(*by_latent, W, x)
    kernels.scatter_sum(*by_latent, values, x)
    kernels.decode_backward(*by_latent, values, W, x)
    return names


if __name__ == "__main__":
    print(*compile_all(int(sys.argv[1])))
