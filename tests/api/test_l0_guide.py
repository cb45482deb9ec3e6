"""The guide to L0."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import ModelConfig

D, Q = 6, 16
X = np.random.default_rng(0).standard_normal((300, D)).astype(np.float32)


def coder(seed=0, k=3, **more):
    return SparseCoder(ModelConfig("sae", "topk", Q, k, **more), (D,), (D,), torch_stream(seed, "x"))


def broken():
    encoder = coder()
    encoder.W_dec.data[3, 3] = float("nan")
    return encoder


def test_it_measures_what_the_paper_defines():
    model = coder(bias=True)
    with torch.no_grad():
        model.W_dec[5] = 0.0  # a latent without a direction
        model.b_dec.add_(0.5)
    row = sdl.l0_guide({"a": model}, X, n=4).loc["a"]
    columns = np.delete(model.W_dec.detach().numpy(), 5, axis=0)
    columns = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    projections = np.sort(((X - 0.5) @ columns.T).ravel())[::-1]
    # float32 products of six numbers below 4, rounded: some 1e-6
    assert row["projection"] == pytest.approx(projections[4 * len(X)], abs=1e-5)
    cosines = [abs(columns[i] @ columns[j]) for i in range(Q - 1) for j in range(i)]
    assert row["cosine"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert row["l0"] == model.encode(torch.from_numpy(X)).count_nonzero() / len(X)
    assert model.training


def test_a_model_in_float64_measures_the_same():
    expected = sdl.l0_guide([coder()], X, n=4)
    # float32 products of six numbers below 4, rounded: some 1e-6
    np.testing.assert_allclose(sdl.l0_guide([coder().double()], X, n=4), expected, atol=1e-5)


def test_samples_with_nan_are_refused_and_leave_a_model_in_training():
    x, model = X.copy(), coder()
    x[7] = np.nan
    with pytest.raises(ValueError, match="row 7 contains NaN"):
        sdl.l0_guide([model], x, n=4)
    assert model.training


def test_blocks_and_the_number_of_samples_are_means(monkeypatch):
    whole = sdl.l0_guide([coder(), coder(1)], X, n=4, n_samples=200)
    assert list(whole.index) == [0, 1]
    np.testing.assert_array_equal(whole, sdl.l0_guide([coder(), coder(1)], X[:200], n=4))
    monkeypatch.setattr("sdlcore.api.l0_guide.PROJECTIONS_AT_ONCE", 100 * Q)
    halves = [sdl.l0_guide([coder(), coder(1)], part, n=4) for part in (X[:100], X[100:200])]
    np.testing.assert_allclose(sdl.l0_guide([coder(), coder(1)], X[:200], n=4), sum(halves) / 2, rtol=1e-6)


def test_orthogonal_columns_project_least():
    """Mixed columns have more in common with samples of single features than the features themselves."""
    x = np.eye(D, dtype=np.float32)[np.arange(300) % D]
    true, mixed = (coder(k=1) for _ in range(2))
    with torch.no_grad():
        for model, mixing in ((true, 0.0), (mixed, 0.5)):
            model.W_dec.zero_()[:D].copy_(torch.eye(D) + mixing * torch.eye(D).roll(1, 0))
    guide = sdl.l0_guide({"true": true, "mixed": mixed}, x, n=1)
    assert guide["projection"].idxmin() == "true"
    assert guide["cosine"].idxmin() == "true"


@pytest.mark.parametrize(
    ("dictionaries", "how", "message"),
    [
        ([], {}, "dictionaries are empty, expected one or more"),
        ([coder()], {"n": Q}, "n is 16, but dictionary 0 has 16 latents with a direction; lower n"),
        (
            [SparseCoder(ModelConfig("transcoder", "topk", Q, 2), (D,), (D,), torch_stream(0, "x"))],
            {},
            "dictionary 0 is a transcoder",
        ),
        (coder(), {}, "dictionaries is a SparseCoder, expected a list or dict"),
        ({"broken": broken()}, {}, r"dictionary broken: W_dec\[3, 3\] is nan; train it again"),
        ([coder()], {"x": X[:, 1:]}, f"x has the shape {len(X)} x {D - 1}, but dictionary 0 reads N x {D}"),
        ([coder()], {"x": X[0]}, f"x has the shape {D}, but dictionary 0 reads N x {D}"),
        ([coder()], {"x": X[:0]}, "x contains no samples, expected one or more"),
        (
            [SparseCoder(ModelConfig("crosscoder", "topk", Q, 2), (D, D), (D, D), torch_stream(0, "x"))],
            {},
            f"but dictionary 0 reads N x {2 * D}, its sites side by side",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(dictionaries, how, message):
    with pytest.raises(ValueError, match=message):
        sdl.l0_guide(dictionaries, **{"x": X, **how})
