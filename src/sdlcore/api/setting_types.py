"""Types of the settings that functions take by name: `sdlcore.fit` takes `FitSettings`.

Made by ``python -m tests.pages.setting_types`` from the settings' classes, which document each setting. A setting of a
plugin is not listed; a type checker accepts it in a ``dict[str, Any]``, as in ``fit(x, **settings)``.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from sdlcore.sources.bench.settings import Hierarchy


class CoderSettings(TypedDict, total=False):
    """Settings of a model and of its loss."""

    pair: Literal["sae", "transcoder", "crosscoder"]
    activation: Literal["relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk", "lista", "matching_pursuit"] | str
    n_q: int
    k: int | None
    bias: bool
    initialisation: Literal["linear", "tied", "samples"]
    init_scale: float
    init_threshold: float
    init_l0: float | None
    bandwidth: float
    ista_step: float
    tied: bool
    frozen: Literal["none", "encoder", "decoder", "both"]
    decoder_norm: Literal["free", "unit"]
    archetypes: int | None
    relaxation: float
    skip: bool
    loss_scale: Literal["sum", "mean"]
    l1: float
    l1_scale: Literal["decoder", "none"]
    l1_exponent_end: float | None
    l1_anneal_start: float
    l0: float
    l0_form: Literal["step", "tanh", "quadratic"]
    frequency: float
    multi_k: Sequence[int]
    prefixes: Sequence[int]
    prefix_detached: bool
    hierarchical: bool
    lambda_aux: float
    k_aux: int
    aux_target: Literal["residual", "input"]
    orthogonality: float
    orthogonality_chunk: int
    contrast: float
    contrast_similarity: Literal["cosine", "product"]
    lambda_anchor: float
    anchor_form: Literal["frobenius", "matched", "cosine"]
    anchor_until: float | None
    anchor_fall: float
    anchor_cosine: float | None
    penalty_warmup: float
    target_l0: float | None
    l0_gain: float


class FitSettings(CoderSettings, total=False):
    """Settings of a training by gradient descent or of a solver."""

    steps: int
    batch_size: int
    lr: float
    lr_warmup: float
    lr_decay: float
    lr_decay_shape: Literal["linear", "cosine"]
    k_start: int | None
    k_decay: float
    accumulate: int
    precision: Literal["float32", "bfloat16", "int8"]
    weight_decay: float
    gradient_clip: float | None
    normalise: bool
    whiten: bool
    dead_after: int
    resample_every: int | None
    resample_until: float
    reorder_every: int | None
    log_every: int
    checkpoint_every: int
    solver: Literal["acs", "ksvd", "odl", "kmeans"] | str
    n_atoms: int
    support: int
    max_support: int
    sweeps: int
    max_steps: int
    tolerance: float
    threshold: float
    forgetting: float
    early_forgetting: float
    ridge: float
    min_worth: float
    replace_steps: int
    encoder: Literal["regression", "tied", "covariance", "pursuit"]
    encoder_ridge: float


class SolverSettings(TypedDict, total=False):
    """Settings of a solver."""

    solver: Literal["acs", "ksvd", "odl", "kmeans"] | str
    pair: Literal["sae", "transcoder", "crosscoder"]
    n_atoms: int
    support: int
    max_support: int
    sweeps: int
    batch_size: int
    max_steps: int
    tolerance: float
    threshold: float
    forgetting: float
    early_forgetting: float
    ridge: float
    min_worth: float
    replace_steps: int
    l1: float
    precision: Literal["float32", "bfloat16"]
    normalise: bool
    encoder: Literal["regression", "tied", "covariance", "pursuit"]
    encoder_ridge: float


class BenchSettings(TypedDict, total=False):
    """Settings of a Linear Representation Bench."""

    max_interference: float
    bound: Literal["signed", "absolute"]
    learning_rate: float
    max_iterations: int
    n: int
    n_p: int
    n_r: int | None
    seed_leak: bool
    train_samples: int
    test_samples: int
    sparsity: float
    c_min: float
    beta: float
    frequency_exponent: float
    correlation: float
    group_size: int
    noise: float
    hierarchy: Hierarchy | dict[str, Any] | None


class SynthSettings(TypedDict, total=False):
    """Settings of a bench with SynthSAEBench's distribution."""

    n: int
    n_p: int
    train_samples: int
    test_samples: int
    exponent: float
    max_frequency: float
    min_frequency: float
    roots: int
    branching: int
    depth: int
    rank: int
    correlation: float
    first_magnitude: float
    last_magnitude: float
    deviation: float
    deviation_spread: float
    bias: float
    orthogonal_steps: int
    orthogonal_rate: float
    version: int
