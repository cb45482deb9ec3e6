import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import least_squares_codes
from sdlcore.solvers.codes import largest_correlations, nonnegative_codes


def problem(B=50, K=30, dimension=12, k=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(K, dimension, generator=generator))
    x = torch.randn(B, K, generator=generator).relu() @ atoms
    return x, atoms, largest_correlations(x, atoms, k)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 12), sweeps=st.integers(1, 9))
def test_the_values_are_those_of_the_solvers_code_step(seed, k, sweeps):
    x, atoms, support = problem(k=k, seed=seed)
    expected = nonnegative_codes(x, atoms, atoms @ atoms.T, support, sweeps).values
    torch.testing.assert_close(least_squares_codes(x, atoms, support, sweeps), expected, rtol=1e-3, atol=1e-4)


def test_many_sweeps_reach_non_negative_least_squares_for_rows_of_any_norm():
    x, atoms, support = problem(k=5)
    rows = atoms.double() * torch.rand(len(atoms), 1, dtype=torch.float64).add(0.5)
    values = least_squares_codes(x.double(), rows, support, 2000)
    for sample, start, end in zip(x, support.offsets, support.offsets[1:], strict=False):
        exact, _ = nnls(rows[support.columns[start:end].long()].numpy().T, sample.double().numpy())
        np.testing.assert_allclose(values[start:end].numpy(), exact, atol=1e-6)


def test_parts_that_fit_in_memory_are_as_the_whole(monkeypatch):
    x, atoms, support = problem()
    whole = least_squares_codes(x, atoms, support, 3)
    monkeypatch.setattr("sdlcore.model.encoding.ENTRIES_AT_ONCE", 7 * 36)
    torch.testing.assert_close(least_squares_codes(x, atoms, support, 3), whole)


def test_a_model_with_a_pursuit_keeps_the_latents_of_one_without_and_reconstructs_better():
    x, atoms, _ = problem()
    errors, supports = [], []
    for pursuit in (0, 8):
        model = SparseCoder.from_config(
            ModelConfig(activation="topk", n_q=30, k=6, bias=True, pursuit=pursuit), (12,), (12,)
        )
        weights = {"W_enc": atoms, "b_enc": -atoms.sum(1) / 2, "W_dec": atoms, "b_dec": torch.full((12,), 0.5)}
        model.load_state_dict(model.state_dict() | weights)
        with torch.no_grad():
            out = model(x + 0.5)
        errors.append(float((x + 0.5 - out.x_hat).square().sum()))
        supports.append(out.support.columns)
        torch.testing.assert_close(out.x_hat, model.decode(out.latents()))
    assert torch.equal(*supports)
    assert errors[1] < 0.5 * errors[0]
