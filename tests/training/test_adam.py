import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.training.adam import Adam


@pytest.mark.parametrize(
    ("kernels", "dtype"),
    # GPUs use torch's Adam, which also runs on a CPU, but clips only in float32
    [(NumbaKernels, torch.float32), (NumbaKernels, torch.float64), (Kernels, torch.float32)],
)
@given(
    seed=st.integers(0, 1000),
    steps=st.integers(1, 8),
    shape=st.sampled_from([(1,), (7,), (5000,), (30, 400)]),
    lr=st.sampled_from([1e-4, 1e-2, 1.0]),
    clip=st.sampled_from([None, 0.1, 1e6]),
    sphere=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
)
def test_steps_are_those_of_torchs_adam_with_clipping(kernels, dtype, seed, steps, shape, lr, clip, sphere, decay):
    generator = torch.Generator().manual_seed(seed)
    starts = [
        torch.randn(*shape, generator=generator, dtype=dtype),
        torch.randn(9, 4, generator=generator, dtype=dtype),
    ]
    if sphere:
        starts[1] = torch.nn.functional.normalize(starts[1])
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    adam = Adam(ours, clip, ours[1:] if sphere else (), kernels=kernels(), weight_decay=decay)
    # neither vectors nor unit rows decay
    matrices = [p for p in theirs if p.ndim > 1 and not (sphere and p is theirs[1])]
    vectors = [p for p in theirs if not any(p is matrix for matrix in matrices)]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    reference = torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    for _ in range(steps):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(*one.shape, generator=generator, dtype=dtype)
            other.grad = one.grad.clone()
        if sphere:
            unit, gradient = theirs[1].detach(), theirs[1].grad
            gradient -= (gradient * unit).sum(1, keepdim=True) * unit
        norm = torch.stack([p.grad.norm() for p in theirs]).norm()
        for p in theirs:
            p.grad /= max(norm / clip, 1.0) if clip is not None else 1.0
        adam.step(lr)
        torch.testing.assert_close(adam.gradient_norm, norm, rtol=1e-5, atol=0)
        reference.step()
        if sphere:
            theirs[1].data = torch.nn.functional.normalize(theirs[1].data)
            torch.testing.assert_close(ours[1].norm(dim=1), torch.ones(9, dtype=dtype))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * lr)
        for name, value in reference.state[other].items():
            torch.testing.assert_close(adam.state[one][name], value, rtol=tolerance, atol=tolerance)


def test_parameters_without_gradient_stay():
    p = torch.nn.Parameter(torch.ones(3))
    adam = Adam([p])
    adam.step(1.0)
    assert torch.equal(p.detach(), torch.ones(3))
    assert not adam.state[p]
