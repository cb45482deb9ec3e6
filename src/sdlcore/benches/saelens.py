"""Load and sample synthetic models of SAELens, such as SynthSAEBench, without SAELens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from sdlcore.benches.config import CONFIG, HIERARCHY, WEIGHTS, SaelensSource
from sdlcore.benches.known_features import Samples
from sdlcore.benches.synth import Distribution, Family, Sampler, draw_samples
from sdlcore.data.anchors import check_unit
from sdlcore.random_streams import stream
from sdlcore.storage.parsing import parsing

SEED_OFFSETS = {"std_firing_magnitudes": 1, "mean_firing_magnitudes": 2}
"""Number that SAELens adds to a model's seed, for each kind of magnitude."""
OF_OTHER_FILES = {"firing_probability", "hierarchy", "orthogonalization", "correlation", "bias"}
"""Keys of a configuration whose results the tensors and the hierarchy's file contain."""
KEYS = {"num_features", "hidden_dim", "seed", "dtype", *SEED_OFFSETS, *OF_OTHER_FILES}
"""Keys of a configuration. A model with another key may have an unknown distribution."""
NODE_KEYS = {"feature_index", "children", "feature_id", "mutually_exclusive_children", "scale_children_by_parent"}
"""Keys of a node in a hierarchy."""


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
    """Read a model's configuration, under SAELens' names.

    Raises
    ------
    SourceError
        If a key or a value is not supported; the message names the file.
    """
    path = Path(source.model) / CONFIG
    with parsing(path, "the configuration of a synthetic model", "SyntheticModel.save of SAELens writes it"):
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _check_keys(config, KEYS)
        if config.get("dtype", "float32") != "float32":
            raise ValueError(f"dtype: {config['dtype']!r}, expected float32")
    return config


def _check_keys(values: dict[str, Any], allowed: set[str]) -> None:
    if unknown := values.keys() - allowed:
        raise ValueError(f"{min(unknown)}: unknown setting")


def read_synthetic_model(source: SaelensSource) -> SyntheticModel:
    """Load a model.

    Raises
    ------
    SourceError
        If something is missing, damaged or not supported; the message names the file and the key or tensor.
    """
    config, folder = read_synthetic_config(source), Path(source.model)
    with parsing(folder / WEIGHTS, "the tensors of a synthetic model"):
        tensors = load_file(folder / WEIGHTS)
        W = _tensor(tensors, "feature_vectors", source.n, source.n_p)
        # the weights of features on shared factors; samples are drawn from these alone
        factors = np.zeros((source.n, 0), dtype=np.float32)
        if config.get("correlation") is not None or "correlation_factor" in tensors:
            factors = _tensor(tensors, "correlation_factor", source.n, *tensors["correlation_factor"].shape[1:])
            if (np.square(factors, dtype=float).sum(axis=1) >= 1).any():
                raise ValueError("correlation_factor: expected sums of squares below 1")
        frequencies = _tensor(tensors, "firing_probabilities", source.n)
        if not ((frequencies >= 0) & (frequencies <= 1)).all():
            raise ValueError("firing_probabilities: expected numbers from 0 to 1")
        bias = _tensor(tensors, "bias", source.n_p)
    check_unit(folder / WEIGHTS, {"feature_vectors": W})
    families = []
    if config.get("hierarchy") is not None or (folder / HIERARCHY).exists():
        with parsing(folder / HIERARCHY, "a hierarchy"):
            roots = json.loads((folder / HIERARCHY).read_text(encoding="utf-8"))["roots"]
            families = read_families(roots, source.n)
    with parsing(folder / CONFIG, "the configuration of a synthetic model"):
        means, deviations = (magnitudes(config, f"{side}_firing_magnitudes", source.n) for side in ("mean", "std"))
    distribution = Distribution(frequencies, frequencies.astype(np.float64), factors, means, deviations, bias)
    return SyntheticModel(np.ascontiguousarray(W.T), distribution, families)


def _tensor(tensors: dict[str, np.ndarray], name: str, *shape: int) -> np.ndarray:
    tensor = tensors[name].astype(np.float32)
    if tensor.shape != shape or not np.isfinite(tensor).all():
        raise ValueError(f"{name} has shape {tensor.shape}, expected finite numbers of shape {shape}")
    return tensor


def magnitudes(config: dict[str, Any], key: str, n: int) -> np.ndarray:
    """Draw the magnitudes (n, float32) for ``key`` of a configuration, as SAELens does.

    A saved model does not contain its magnitudes. They are drawn from the configuration and the seed.
    """
    import torch  # imported here, since few models need it

    values: Any = config.get(key, 1.0 if key == "mean_firing_magnitudes" else 0.0)
    match values:
        case float() | int():
            return np.full(n, values, dtype=np.float32)
        case {"generator_name": "constant"}:
            return np.full(n, values.get("value", 1.0), dtype=np.float32)
        case {"generator_name": "linear", "start": start, "end": end}:
            return np.linspace(start, end, n, dtype=np.float32)
        case {"generator_name": "exponential", "start": start, "end": end}:
            return np.geomspace(start, end, n).astype(np.float32)
        case {"generator_name": "folded_normal"}:
            if config.get("seed") is None:
                raise ValueError(
                    f"seed: null, but {key} of folded_normal are drawn from it and not saved, so SAELens itself draws "
                    "others each time it loads the model; save the model with a seed"
                )
            random = torch.Generator().manual_seed(config["seed"] + SEED_OFFSETS[key])
            drawn = (values.get("mean", 0.0) + values.get("std", 0.1) * torch.randn(n, generator=random)).abs().numpy()
            most = np.inf if values.get("max_value") is None else values["max_value"]
            return np.clip(drawn, values.get("min_value") or 0, most).astype(np.float32)
        case _:
            raise ValueError(f"{key}: {values!r} is not supported")


def read_families(roots: list[dict[str, Any]], n: int) -> list[Family]:
    """Return the families of siblings in trees of ``n`` features, roots first.

    A family's parent may be several generations above, because nodes without a feature are skipped. Siblings that have
    no parent and do not exclude each other are no family.

    Raises
    ------
    ValueError
        If a node's feature is none of the n features, or two nodes have the same.
    """
    families: list[Family] = []
    # with the nearest ancestor that is a feature
    level: list[tuple[dict[str, Any], int | None]] = [(root, None) for root in roots]
    features: list[int] = []
    while level:
        below: list[tuple[dict[str, Any], int | None]] = []
        for node, ancestor in level:
            _check_keys(node, NODE_KEYS)
            feature, children = node.get("feature_index"), node.get("children", [])
            features += [] if feature is None else [feature]
            parent = ancestor if feature is None else feature
            below += [(child, parent) for child in children]
            indices = [child.get("feature_index") for child in children]
            members = tuple(index for index in indices if index is not None)
            exclusive = bool(node.get("mutually_exclusive_children")) and len(members) > 1
            if members and (exclusive or parent is not None):
                scaled = bool(node.get("scale_children_by_parent")) and parent is not None
                families.append(Family(parent, members, exclusive, scaled))
        level = below
    if len(set(features)) < len(features) or not set(features) <= set(range(n)):
        raise ValueError(f"feature_index: expected each of 0 to {n - 1} at most once, found {sorted(features)}")
    return families
