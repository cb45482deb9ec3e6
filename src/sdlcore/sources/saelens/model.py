"""Load a synthetic model that SAELens saved."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from sdlcore.data.directions import check_unit
from sdlcore.errors import SourceError
from sdlcore.random_streams import stream
from sdlcore.sources.bench.samples import Samples
from sdlcore.sources.saelens.settings import CONFIG, HIERARCHY, WEIGHTS, SaelensSource
from sdlcore.sources.synth.distribution import Distribution, Family, scaled_parents
from sdlcore.sources.synth.sampler import Sampler, draw_samples
from sdlcore.storage.external_json import Settings, read_object
from sdlcore.storage.parsing import parsing
from sdlcore.text import listed, short_text

KNOWN = {
    "firing_probability": None,
    "hierarchy": None,
    "orthogonalization": None,
    "correlation": None,
    "std_firing_magnitudes": 0.0,
    "mean_firing_magnitudes": 1.0,
    "bias": 1.0,
    "dtype": "float32",
    "seed": None,
}
"""Supported keys of a configuration besides the sizes, and their defaults."""
SIZES = {"num_features": "n", "hidden_dim": "n_p"}
UNSHARED = 1e-4
"""Largest difference from 1 of the variance of a feature's Gaussian number; far above SAELens' rounding errors."""
GENERATORS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "linear": ("start", "end"),
    "exponential": ("start", "end"),
    "folded_normal": ("mean", "std", "min_value", "max_value"),
}
"""Supported generators and their settings."""
GENERATOR_DEFAULTS: dict[str, Any] = {"value": 1.0, "mean": 0.0, "std": 0.1, "min_value": None, "max_value": None}
SEED_OFFSETS = {"std_firing_magnitudes": 1, "mean_firing_magnitudes": 2}
"""Number that SAELens adds to a model's seed, for each kind of magnitude."""
NODE_KEYS = ("feature_index", "children", "mutually_exclusive_children", "scale_children_by_parent", "feature_id")


class SyntheticModel(NamedTuple):
    """A synthetic model of SAELens."""

    W_p: np.ndarray
    """n_p x n unit features, float32."""
    distribution: Distribution
    """Distribution of candidates and their magnitudes."""
    families: list[Family]
    """The hierarchy of features; empty for none."""

    def draw_samples(self, seed: int, part: str, n_samples: int) -> Iterator[Samples]:
        """Yield the first samples of a part in blocks."""
        sampler = Sampler(self.distribution, self.families, stream(seed, "saelens", part))
        return draw_samples(sampler, self.W_p, self.distribution.bias, n_samples)


def read_synthetic_config(source: SaelensSource) -> dict[str, Any]:
    """Read a model's configuration and add defaults.

    Raises
    ------
    SourceError
        If a value is not supported or differs from the source's settings; the message names file, key and value.
    """
    path = Path(source.model) / CONFIG
    with parsing(path, "the configuration of a synthetic model", "SyntheticModel.save of SAELens writes it"):
        content = read_object(path)
    for key, ours in SIZES.items():
        if Settings(path, content).count(key) != getattr(source, ours):
            raise SourceError(f"{path}: {key}: {content[key]}, but the source has {ours}: {getattr(source, ours)}")
    with _naming(path):
        keys = [*SIZES, *KNOWN]
        if unknown := sorted(content.keys() - set(keys)):
            raise SourceError(f"{short_text(unknown[0])}: unsupported key; expected some of {', '.join(keys)}")
        config = KNOWN | content | {key: getattr(source, ours) for key, ours in SIZES.items()}
        if config["dtype"] != "float32":
            raise SourceError(f"dtype: {config['dtype']!r} is not supported; expected 'float32'")
        for key in ("std_firing_magnitudes", "mean_firing_magnitudes"):
            check_magnitudes(config, key)
    return config


def read_synthetic_model(source: SaelensSource) -> SyntheticModel:
    """Load a model.

    Raises
    ------
    SourceError
        If something is missing, damaged or not supported; the message names the file and the key or tensor.
    """
    config, folder = read_synthetic_config(source), Path(source.model)
    with parsing(folder / WEIGHTS, "safetensors"):
        tensors = load_file(folder / WEIGHTS)
    with _naming(folder / WEIGHTS):
        W = _tensor(tensors, "feature_vectors", source.n, source.n_p)
        factors = _factors(tensors, config, source.n)
        frequencies = _tensor(tensors, "firing_probabilities", source.n)
        if not ((frequencies >= 0) & (frequencies <= 1)).all():
            raise SourceError("firing_probabilities: expected probabilities from 0 to 1")
        bias = _tensor(tensors, "bias", source.n_p)
    check_unit(folder / WEIGHTS, {"feature_vectors": W})
    means, deviations = (magnitudes(config, f"{side}_firing_magnitudes") for side in ("mean", "std"))
    if (deviations < 0).any():
        raise SourceError(f"{folder / CONFIG}: std_firing_magnitudes: expected no number below 0")
    families = _families(folder, config, source.n)
    if any(means[parent] <= 0 for parent in scaled_parents(families)):
        raise SourceError(
            f"{folder / CONFIG}: mean_firing_magnitudes: expected numbers above 0 "
            "for features that scale their children"
        )
    distribution = Distribution(frequencies, frequencies.astype(np.float64), factors, means, deviations, bias)
    return SyntheticModel(np.ascontiguousarray(W.T), distribution, families)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add a file's path to a SourceError of the block."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error


def _tensor(tensors: dict[str, np.ndarray], name: str, *shape: int) -> np.ndarray:
    if name not in tensors:
        raise SourceError(f"{name}: missing, found {listed(sorted(tensors))}")
    tensor = tensors[name]
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and are refused
        finite = tensor.dtype.kind == "f" and np.isfinite(tensor.astype(np.float32)).all()
    if tensor.shape != shape or not finite:
        raise SourceError(f"{name}: {tensor.dtype} of shape {tensor.shape}, expected finite numbers of shape {shape}")
    return tensor.astype(np.float32)


def _factors(tensors: dict[str, np.ndarray], config: dict[str, Any], n: int) -> np.ndarray:
    """Return the weights of features on shared factors (n x rank); the rank is 0 without correlation."""
    name = "correlation_factor"
    if name not in tensors:
        if config["correlation"] is not None:
            raise SourceError(f"{name}: missing, but {CONFIG} specifies correlation")
        return np.zeros((n, 0), dtype=np.float32)
    rank = tensors[name].shape[1] if tensors[name].ndim == 2 else 1
    factors = _tensor(tensors, name, n, rank)
    diagonal = _tensor(tensors, "correlation_diag", n)
    shared = np.square(factors, dtype=float).sum(axis=1)  # samples are drawn from these alone, so they stay below 1
    if (diagonal <= 0).any() or (shared >= 1).any() or (np.abs(shared + diagonal - 1) > UNSHARED).any():
        raise SourceError(f"correlation_diag: expected numbers above 0 that equal 1 minus the sum of squares of {name}")
    return factors


def _families(folder: Path, config: dict[str, Any], n: int) -> list[Family]:
    path = folder / HIERARCHY
    if not path.exists():
        if config["hierarchy"] is not None:
            raise SourceError(f"{path}: missing, but {CONFIG} specifies a hierarchy")
        return []
    with parsing(path, "a hierarchy"), _naming(path):
        return read_families(json.loads(path.read_text(encoding="utf-8")), n)


def check_magnitudes(config: dict[str, Any], key: str) -> None:
    """Check that magnitudes can be drawn exactly as by SAELens.

    Raises
    ------
    SourceError
        If not; the message names the key and the value.
    """
    entry = config[key]
    if not isinstance(entry, dict):
        return
    name = str(entry.get("generator_name"))
    if name not in GENERATORS:
        raise SourceError(f"{key}.generator_name: {name!r} is not supported; expected one of {', '.join(GENERATORS)}")
    expected = GENERATORS[name]
    if unknown := sorted(entry.keys() - {"generator_name", *expected}):
        raise SourceError(f"{key}.{short_text(unknown[0])}: unknown for {name}; expected some of {', '.join(expected)}")
    if name == "folded_normal" and config["seed"] is None:
        raise SourceError(
            f"seed: null, but {key} of {name} are drawn from it and not saved, so SAELens itself draws others each "
            "time it loads the model; save the model with a seed"
        )


def magnitudes(config: dict[str, Any], key: str) -> np.ndarray:
    """Draw the magnitudes (n, float32) for ``key`` of a checked configuration, as SAELens does.

    A saved model does not contain its magnitudes. They are drawn from the configuration and the seed.
    """
    import torch  # imported here, since few models need it

    entry, n = config[key], config["num_features"]
    settings = (
        {"generator_name": "constant", "value": entry} if not isinstance(entry, dict) else GENERATOR_DEFAULTS | entry
    )
    kind = settings["generator_name"]
    if kind == "constant":
        return np.full(n, settings["value"], dtype=np.float32)
    if kind == "folded_normal":
        generator = torch.Generator().manual_seed(config["seed"] + SEED_OFFSETS[key])
        drawn = settings["mean"] + settings["std"] * torch.randn(n, generator=generator)
        least, most = settings["min_value"], settings["max_value"]
        bounds = 0 if least is None else least, np.inf if most is None else most
        return np.clip(np.abs(drawn.numpy()), *bounds).astype(np.float32)
    start, end = settings["start"], settings["end"]
    if kind == "linear":
        return np.linspace(start, end, n, dtype=np.float32)
    return np.geomspace(start, end, n).astype(np.float32)


class _Node(NamedTuple):
    settings: dict[str, Any]
    parent: int | None
    """Feature of the parent, or of the nearest ancestor that has one."""


def read_families(hierarchy: Any, n: int) -> list[Family]:
    """Parse the trees in ``hierarchy.json``; return their families of siblings, roots first.

    A family's parent may be several generations above, because nodes without a feature are skipped. Siblings that have
    no parent and do not exclude each other are no family.

    Parameters
    ----------
    hierarchy
        Content of ``hierarchy.json``.
    n
        Number of features.

    Raises
    ------
    SourceError
        If a key or a value is invalid; the message names it.
    """
    features: set[int] = set()
    level = [_Node(_checked_node(root, n, features), None) for root in hierarchy["roots"]]
    families: list[Family] = []
    while level:
        below: list[_Node] = []
        for node in level:
            feature = node.settings["feature_index"]
            parent = node.parent if feature is None else feature
            children = [_checked_node(child, n, features) for child in node.settings["children"]]
            below += [_Node(child, parent) for child in children]
            members = tuple(child["feature_index"] for child in children if child["feature_index"] is not None)
            exclusive = node.settings["mutually_exclusive_children"] and len(members) > 1
            if members and (exclusive or parent is not None):
                scaled = node.settings["scale_children_by_parent"] and parent is not None
                families.append(Family(parent, members, exclusive, scaled))
        level = below
    return families


def _checked_node(node: Any, n: int, features: set[int]) -> dict[str, Any]:
    """Check a node and add defaults. Features are added to ``features``, since each may have only one node."""
    if unknown := sorted(node.keys() - set(NODE_KEYS)):
        raise SourceError(f"{short_text(unknown[0])}: unknown key of a node; expected some of {', '.join(NODE_KEYS)}")
    flags = {key: node.get(key, False) for key in ("mutually_exclusive_children", "scale_children_by_parent")}
    feature, children = node.get("feature_index"), node.get("children", [])
    if feature is not None:
        if not 0 <= feature < n:
            raise SourceError(f"feature_index: {feature!r}, expected null or one of 0 to {n - 1}")
        if feature in features:
            raise SourceError(f"feature_index: {feature} is given to two nodes")
        features.add(feature)
    return {"feature_index": feature, "children": children, **flags}
