"""Synthetic models in SAELens' format, written by hand: reading, drawing, storing and rejecting them."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sdlcore.benches.config import SaelensSource
from sdlcore.benches.saelens import read_synthetic_model
from sdlcore.benches.synth import Sampler
from sdlcore.errors import SourceError
from sdlcore.random_streams import stream

N, N_P, SAMPLES = 12, 8, 40000
LEAF = {"mutually_exclusive_children": False, "scale_children_by_parent": False, "feature_id": None, "children": []}


def node(feature, *children, exclusive=False, scaled=False):
    flags = {"mutually_exclusive_children": exclusive, "scale_children_by_parent": scaled}
    return LEAF | flags | {"feature_index": feature, "children": list(children)}


# 0 scales 1 and 2, which exclude each other; 3, no child of it but of a nameless node, is silent without 4
ROOTS = [node(0, node(1), node(2, node(5)), exclusive=True, scaled=True), node(4, node(None, node(3)))]
CONFIG = {
    "num_features": N,
    "hidden_dim": N_P,
    "firing_probability": {"generator_name": "zipfian"},
    "hierarchy": {"total_root_nodes": 2},
    "orthogonalization": None,
    "correlation": {"rank": 2, "correlation_scale": 0.3, "seed": None},
    "std_firing_magnitudes": {"generator_name": "folded_normal", "mean": 0.5, "std": 0.2},
    "mean_firing_magnitudes": {"generator_name": "linear", "start": 5.0, "end": 4.0},
    "bias": 0.5,
    "dtype": "float32",
    "seed": 7,
}


def written(folder, config=None, hierarchy=None, **tensors):
    """Write a model, with some keys and tensors replaced; a tensor that is None is left out. Return its source."""
    rng = np.random.default_rng(0)
    W, factors = rng.standard_normal((N, N_P)), 0.3 * rng.standard_normal((N, 2))
    arrays = {
        "feature_vectors": W / np.linalg.norm(W, axis=1, keepdims=True),
        "bias": rng.standard_normal(N_P),
        "firing_probabilities": np.linspace(0.6, 0.2, N),
        "correlation_factor": factors,
        "correlation_diag": 1 - np.square(factors).sum(axis=1),
    } | tensors
    folder.mkdir(exist_ok=True)
    (folder / "synthetic_model_config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "hierarchy.json").write_text(json.dumps({"roots": ROOTS} if hierarchy is None else hierarchy))
    save_file(
        {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items() if value is not None},
        folder / "synthetic_model.safetensors",
    )
    return SaelensSource(str(folder), N, N_P, train_samples=9000, test_samples=50)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_synthetic_model(written(tmp_path_factory.mktemp("saved") / "model"))


def draw(model):
    """Return samples of a model (dense)."""
    return Sampler(model.distribution, model.families, stream(0, "samples")).coefficients(0, SAMPLES).toarray()


@pytest.fixture(scope="module")
def x(model):
    return draw(model)


def test_a_child_is_active_only_with_its_parent_and_without_siblings_that_it_excludes(x):
    active = x > 0
    for child, parent in ((1, 0), (2, 0), (5, 2), (3, 4)):
        assert active[:, child].any()
        assert not (active[:, child] & ~active[:, parent]).any()
    assert not (active[:, 1] & active[:, 2]).any()


def test_features_are_as_frequent_as_the_model_says_and_correlated_by_its_factors(model, x):
    alone = [0, 4, 6, 7, 8, 9, 10, 11]
    frequencies, active = model.distribution.frequencies[alone], (x > 0)[:, alone]
    assert (np.abs(active.mean(axis=0) - frequencies) < 5 * np.sqrt(frequencies * (1 - frequencies) / SAMPLES)).all()
    shared = (model.distribution.factors @ model.distribution.factors.T)[np.ix_(alone, alone)]
    pairs = np.triu_indices(len(alone), 1)
    assert np.corrcoef(shared[pairs], np.corrcoef(active.T)[pairs])[0, 1] > 0.98


def test_siblings_that_exclude_each_other_have_equal_chances_where_both_are_candidates(tmp_path):
    even = np.full(N, 1.0)
    model = read_synthetic_model(written(tmp_path, firing_probabilities=even))
    active = draw(model) > 0
    assert (active[:, 1] ^ active[:, 2])[active[:, 0]].all()
    assert active[:, 1].mean() == pytest.approx(0.5, abs=0.02)


def test_siblings_without_a_parent_may_exclude_each_other(tmp_path):
    roots = [node(None, node(3), node(5, node(2)), node(7), exclusive=True, scaled=True)]
    model = read_synthetic_model(written(tmp_path, hierarchy={"roots": roots}, firing_probabilities=np.full(N, 0.5)))
    active = draw(model) > 0
    assert active[:, [3, 5, 7]].sum(axis=1).max() == 1
    # some sibling is active unless none is a candidate: in 1/8 of samples if they were independent
    assert active[:, [3, 5, 7]].any(axis=1).mean() == pytest.approx(0.875, abs=0.1)
    assert not (active[:, 2] & ~active[:, 5]).any()
    assert active[:, 2].any()


def test_magnitudes_are_the_configurations_and_a_scaled_child_grows_with_its_parent(model, x):
    means, deviations = model.distribution.means, model.distribution.deviations
    assert means[[0, -1]].tolist() == [5, 4]
    # what SAELens draws of seed + 1
    drawn = 0.5 + 0.2 * torch.randn(N, generator=torch.Generator().manual_seed(8))
    assert deviations == pytest.approx(drawn.abs().numpy())
    magnitudes = x[x[:, 6] > 0, 6]
    assert abs(magnitudes.mean() - means[6]) < 5 * deviations[6] / np.sqrt(len(magnitudes))
    assert magnitudes.std() == pytest.approx(deviations[6], rel=0.05)
    both = x[x[:, 1] > 0][:, [0, 1]].astype(float)
    assert both[:, 1].mean() / both[:, 0].mean() == pytest.approx(means[1] / means[0], rel=0.02)
    gated = x[x[:, 3] > 0, 3]
    assert abs(gated.mean() - means[3]) < 5 * deviations[3] / np.sqrt(len(gated))


@pytest.mark.parametrize(
    ("magnitudes", "first", "last"),
    [
        (2, 2, 2),
        ({"generator_name": "constant"}, 1, 1),
        ({"generator_name": "exponential", "start": 1.0, "end": 16.0}, 1, 16),
    ],
)
def test_other_magnitudes(magnitudes, first, last, tmp_path):
    means = read_synthetic_model(written(tmp_path, {"mean_firing_magnitudes": magnitudes})).distribution.means
    assert means[[0, -1]] == pytest.approx([first, last])
    assert means[1] / means[0] == pytest.approx((last / first) ** (1 / (N - 1)))


def test_a_model_without_correlation_and_hierarchy(tmp_path):
    source = written(tmp_path, {"correlation": None, "hierarchy": None}, correlation_factor=None, correlation_diag=None)
    (tmp_path / "hierarchy.json").unlink()
    model = read_synthetic_model(source)
    active = draw(model) > 0
    frequencies = model.distribution.frequencies
    assert (np.abs(active.mean(axis=0) - frequencies) < 5 * np.sqrt(frequencies * (1 - frequencies) / SAMPLES)).all()
    assert np.abs(np.corrcoef(active.T)[np.triu_indices(N, 1)]).max() < 5 / np.sqrt(SAMPLES)


CONFIGURATIONS = [
    ({"noise": 0.1}, "noise: unknown setting"),
    ({"seed": None}, "seed: null, but std_firing_magnitudes of folded_normal are drawn from it"),
    ({"mean_firing_magnitudes": {"generator_name": "cauchy"}}, "mean_firing_magnitudes.*'cauchy'"),
]
TENSORS = [
    ({"feature_vectors": np.ones((N, 3))}, r"feature_vectors has shape \(12, 3\), expected finite"),
    ({"feature_vectors": np.ones((N, N_P))}, "row 0 of feature_vectors has norm 2.828"),
    ({"firing_probabilities": np.full(N, 1.5)}, "firing_probabilities: expected numbers from 0 to 1"),
    ({"correlation_factor": None}, "it lacks 'correlation_factor'"),
    ({"correlation_factor": np.ones((N, 2))}, "correlation_factor: expected sums of squares below 1"),
]
HIERARCHIES = [
    ({"roots": [node(12)]}, r"feature_index: expected each of 0 to 11 at most once, found \[12\]"),
    ({"roots": [node(1, node(1))]}, "feature_index: expected each of 0 to 11 at most once"),
    ({"roots": [node(1) | {"weight": 2}]}, "weight: unknown setting"),
]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        *(({"config": config}, f"synthetic_model_config.json: .*{message}") for config, message in CONFIGURATIONS),
        *((tensors, f"synthetic_model.safetensors: .*{message}") for tensors, message in TENSORS),
        *(({"hierarchy": hierarchy}, f"hierarchy.json: .*{message}") for hierarchy, message in HIERARCHIES),
    ],
)
def test_what_is_not_supported_is_refused_by_file_and_key(parts, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_synthetic_model(written(tmp_path, **parts))


def test_missing_and_broken_files_are_named(tmp_path):
    source = written(tmp_path)
    (tmp_path / "hierarchy.json").unlink()
    with pytest.raises(SourceError, match=r"hierarchy.json: not readable as"):
        read_synthetic_model(source)
    for name in ("synthetic_model.safetensors", "synthetic_model_config.json"):
        (tmp_path / name).write_text("{")
        with pytest.raises(SourceError, match=f"{name}: not readable as"):
            read_synthetic_model(source)
