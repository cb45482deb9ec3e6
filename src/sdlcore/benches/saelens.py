"""Load and sample synthetic models that SAELens saved, such as SynthSAEBench, without SAELens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file

from sdlcore.benches.config import CONFIG, HIERARCHY, WEIGHTS, SaelensSource
from sdlcore.benches.known_features import Samples
from sdlcore.benches.synth import Distribution, Family, Sampler, draw_samples
from sdlcore.data.anchors import check_unit
from sdlcore.errors import SourceError
from sdlcore.random_streams import stream
from sdlcore.settings import FromList, Settings
from sdlcore.storage.parsing import parsing

UNSHARED = 1e-4
"""Largest difference from 1 of the variance of a feature's Gaussian number; far above SAELens' rounding errors."""
SEED_OFFSETS = {"std_firing_magnitudes": 1, "mean_firing_magnitudes": 2}
"""Number that SAELens adds to a model's seed, for each kind of magnitude."""


class Linear(Settings):
    """Magnitudes that change linearly from the first feature to the last."""

    generator_name: Literal["linear"]
    start: float
    end: float


class Exponential(Settings):
    """Magnitudes that change by a constant factor from the first feature to the last."""

    generator_name: Literal["exponential"]
    start: float
    end: float


class Constant(Settings):
    """Equal magnitudes."""

    generator_name: Literal["constant"]
    value: float = 1.0


class FoldedNormal(Settings):
    """Absolute values of normal numbers, clipped."""

    generator_name: Literal["folded_normal"]
    mean: float = 0.0
    std: float = 0.1
    min_value: float | None = None
    max_value: float | None = None


Generator = Annotated[Linear | Exponential | Constant | FoldedNormal, Field(discriminator="generator_name")]


class SyntheticConfig(Settings):
    """The configuration of a synthetic model, under SAELens' names. Distributions that the other files hold are Any."""

    num_features: int
    hidden_dim: int
    firing_probability: Any = None
    hierarchy: Any = None
    orthogonalization: Any = None
    correlation: Any = None
    std_firing_magnitudes: float | Generator = 0.0
    mean_firing_magnitudes: float | Generator = 1.0
    bias: Any = 1.0
    dtype: Literal["float32"] = "float32"
    seed: int | None = None

    def check_together(self) -> None:
        for key in SEED_OFFSETS:
            if isinstance(getattr(self, key), FoldedNormal) and self.seed is None:
                raise ValueError(
                    f"seed: null, but {key} of folded_normal are drawn from it and not saved, so SAELens itself draws "
                    "others each time it loads the model; save the model with a seed"
                )


class Node(Settings):
    """A node of a hierarchy of features, under SAELens' names."""

    feature_index: int | None = None
    children: Annotated[tuple["Node", ...], FromList] = ()
    mutually_exclusive_children: bool = False
    scale_children_by_parent: bool = False
    feature_id: Any = None


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


def read_synthetic_config(source: SaelensSource) -> SyntheticConfig:
    """Read a model's configuration.

    Raises
    ------
    SourceError
        If a value is not supported or differs from the source's settings; the message names file, key and value.
    """
    path = Path(source.model) / CONFIG
    with parsing(path, "the configuration of a synthetic model", "SyntheticModel.save of SAELens writes it"):
        config = SyntheticConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    if (config.num_features, config.hidden_dim) != (source.n, source.n_p):
        raise SourceError(
            f"{path}: num_features is {config.num_features} and hidden_dim {config.hidden_dim}, but the source has n "
            f"{source.n} and n_p {source.n_p}"
        )
    return config


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
        factors = _factors(tensors, config, source.n)
        frequencies = _tensor(tensors, "firing_probabilities", source.n)
        if not ((frequencies >= 0) & (frequencies <= 1)).all():
            raise ValueError("firing_probabilities: expected numbers from 0 to 1")
        bias = _tensor(tensors, "bias", source.n_p)
    check_unit(folder / WEIGHTS, {"feature_vectors": W})
    families = []
    if config.hierarchy is not None or (folder / HIERARCHY).exists():
        with parsing(folder / HIERARCHY, "a hierarchy"):
            roots = json.loads((folder / HIERARCHY).read_text(encoding="utf-8"))["roots"]
            families = read_families([Node.from_dict(root) for root in roots], source.n)
    means, deviations = (magnitudes(config, f"{side}_firing_magnitudes") for side in ("mean", "std"))
    distribution = Distribution(frequencies, frequencies.astype(np.float64), factors, means, deviations, bias)
    return SyntheticModel(np.ascontiguousarray(W.T), distribution, families)


def _tensor(tensors: dict[str, np.ndarray], name: str, *shape: int) -> np.ndarray:
    tensor = tensors[name].astype(np.float32)
    if tensor.shape != shape or not np.isfinite(tensor).all():
        raise ValueError(f"{name} has shape {tensor.shape}, expected finite numbers of shape {shape}")
    return tensor


def _factors(tensors: dict[str, np.ndarray], config: SyntheticConfig, n: int) -> np.ndarray:
    """Return the weights of features on shared factors (n x rank); the rank is 0 without correlation."""
    if config.correlation is None and "correlation_factor" not in tensors:
        return np.zeros((n, 0), dtype=np.float32)
    factors = _tensor(tensors, "correlation_factor", n, *tensors["correlation_factor"].shape[1:])
    diagonal = _tensor(tensors, "correlation_diag", n)
    shared = np.square(factors, dtype=float).sum(axis=1)  # samples are drawn from these alone, so they stay below 1
    if (diagonal <= 0).any() or (shared >= 1).any() or (np.abs(shared + diagonal - 1) > UNSHARED).any():
        raise ValueError("correlation_diag: expected 1 minus the sum of squares of correlation_factor, above 0")
    return factors


def magnitudes(config: SyntheticConfig, key: str) -> np.ndarray:
    """Draw the magnitudes (n, float32) for ``key`` of a configuration, as SAELens does.

    A saved model does not contain its magnitudes. They are drawn from the configuration and the seed.
    """
    import torch  # imported here, since few models need it

    n, generator = config.num_features, getattr(config, key)
    match generator:
        case Linear(start=start, end=end):
            return np.linspace(start, end, n, dtype=np.float32)
        case Exponential(start=start, end=end):
            return np.geomspace(start, end, n).astype(np.float32)
        case FoldedNormal(mean=mean, std=std, min_value=least, max_value=most):
            assert config.seed is not None, "the configuration is checked"
            random = torch.Generator().manual_seed(config.seed + SEED_OFFSETS[key])
            drawn = (mean + std * torch.randn(n, generator=random)).abs().numpy()
            return np.clip(drawn, least or 0, np.inf if most is None else most).astype(np.float32)
        case Constant(value=value):
            return np.full(n, value, dtype=np.float32)
    return np.full(n, generator, dtype=np.float32)


def read_families(roots: list[Node], n: int) -> list[Family]:
    """Return the families of siblings in trees of ``n`` features, roots first.

    A family's parent may be several generations above, because nodes without a feature are skipped. Siblings that have
    no parent and do not exclude each other are no family.

    Raises
    ------
    ValueError
        If a node's feature is none of the n features, or two nodes have the same.
    """
    families: list[Family] = []
    level: list[tuple[Node, int | None]] = [
        (root, None) for root in roots
    ]  # with the nearest ancestor that is a feature
    features: list[int] = []
    while level:
        below: list[tuple[Node, int | None]] = []
        features += [node.feature_index for node, _ in level if node.feature_index is not None]
        for node, ancestor in level:
            parent = ancestor if node.feature_index is None else node.feature_index
            below += [(child, parent) for child in node.children]
            members = tuple(child.feature_index for child in node.children if child.feature_index is not None)
            exclusive = node.mutually_exclusive_children and len(members) > 1
            if members and (exclusive or parent is not None):
                families.append(
                    Family(parent, members, exclusive, node.scale_children_by_parent and parent is not None)
                )
        level = below
    if len(set(features)) < len(features) or not set(features) <= set(range(n)):
        raise ValueError(f"feature_index: expected each of 0 to {n - 1} at most once, found {sorted(features)}")
    return families
