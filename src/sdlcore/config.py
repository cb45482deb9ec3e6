"""`sdlcore.Config`: the settings of a training, flat, each documented below its field.

`ModelConfig` contains the settings of the model, `LossConfig` the settings of the loss.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, WithJsonSchema

from sdlcore.plugins.registry import Extension, Kind, Pluggable, check_name, extensions, registered
from sdlcore.settings import (
    AsGiven,
    BatchSize,
    Conflicts,
    Json,
    LatentCount,
    Pair,
    Positive,
    Share,
    Sizes,
    Total,
    Weight,
)

ActivationName = Literal["relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk", "lista", "matching_pursuit"]
"""Each is a module in `sdlcore.model.activations`."""
Searched = Literal["posterior", "omp"]
"""Searches for codes, given decoder rows (`sdl.search`); also modules in `sdlcore.model.activations`. They are not
trained."""
BUILT_IN = (*get_args(ActivationName), *get_args(Searched))
AnyActivation = Annotated[
    str,
    AfterValidator(lambda name: check_name("activation", name, get_args(ActivationName), get_args(Searched))),
    WithJsonSchema({"type": "string", "enum": [*get_args(ActivationName)]}),
]
"""Name of an activation or a search, built in or from a plugin."""
SELECTING: tuple[ActivationName, ...] = ("topk", "batchtopk", "abstopk", "lista", "matching_pursuit")
"""Built-in activations that keep a given number of latents, and so need k."""
AnchorForm = Literal["frobenius", "matched", "cosine"]
"""The distance between rows and their anchors that the loss measures (`sdlcore.model.losses.anchor`)."""
L0Form = Literal["step", "tanh", "quadratic"]
"""How JumpReLU's penalty counts active latents (`sdlcore.model.losses.l0`)."""
FIT = ("x", "target", "config", "seed", "anchors", "start", "watch", "device", "progress", "out", "callbacks")
"""Arguments of `sdl.fit` that are not settings."""
TAKEN = (*FIT, "like", "warm_start", "solver", "peer", "model", "training")
"""Names that are refused for settings of plugins, as the names of runs' settings are: they already mean something."""
MOST_SWEEPS = 1000
"""Largest number of sweeps of a solver. More would take very long, and change nothing."""
LAMBDA_ANCHOR = 0.1
"""Default weight of given anchors: the paper's weight on the bench."""


class ModelConfig(Pluggable):
    """Settings of the model: pair, activation function, number of latents (Definition 2.5)."""

    kinds: ClassVar[tuple[Kind, ...]] = ("activation",)

    pair: Pair = "sae"
    """sae: x_r = x_p; transcoder: input to target; crosscoder: all sites, concatenated, to themselves."""
    activation: AnyActivation = "relu"
    """Activation function, sigma in Definition 2.5: relu, jumprelu, topk, batchtopk, gated, abstopk, lista,
    matching_pursuit, or a plugin's."""
    n_q: LatentCount = 1024
    """Number of latents."""
    k: LatentCount | None = None
    """Active latents of a sample (topk, abstopk, lista), steps of matching_pursuit, or active latents on average over a
    batch (batchtopk)."""
    bias: bool = True
    """Train b_E and b_D; the paper's model has none."""
    initialisation: Literal["linear", "tied", "samples"] = "linear"
    """linear: uniform, as in nn.Linear; tied: unit decoder rows, and the same encoder rows times init_scale; samples:
    as tied, but rows are random training samples, inputs in the encoder and targets in the decoder."""
    init_scale: Positive = 0.1
    """Scale of the encoder rows with initialisation tied or samples."""
    init_threshold: Positive = 0.1
    """Threshold at which JumpReLU starts, unless ``init_l0`` sets it."""
    init_l0: Positive | None = None
    """Active latents of a sample at the start. The first batch sets JumpReLU's thresholds, or the encoder biases of
    ReLU and Gated, to reach this number; None starts from init_threshold and zero biases."""
    bandwidth: Positive = 0.4
    """Width of JumpReLU's straight-through kernel, as a share of the threshold at the start."""
    ista_step: Positive = 0.1
    """Step size of LISTA at the start; training adjusts a factor for each latent."""
    tied: bool = False
    """One matrix for encoder and decoder, W_D = W_E^T, throughout training; needs x_r = x_p. It starts as an
    encoder does."""
    frozen: Literal["none", "encoder", "decoder", "both"] = "none"
    """Weights that keep their initial values, for null baselines. Biases and thresholds are still trained."""
    decoder_norm: Literal["free", "unit"] = "free"
    """unit: decoder rows stay on the unit sphere, and their gradients are tangent to it; free: no constraint."""
    archetypes: LatentCount | None = None
    """Number of k-means centroids of the target (RA-SAE). Each decoder row is a mixture of them, up to a relaxation;
    None for free rows. The memory and time that they add to a step grow with n_q times their number."""
    relaxation: Weight = 1.0
    """Largest distance from a decoder row to its mixture of centroids, in units of the activations that training sees;
    with normalise, these have a mean norm of sqrt(dimension)."""
    skip: bool = False
    """A transcoder's linear path W_skip x_p beside the latents (Paulo et al. 2025); it starts at zero."""

    def used_plugins(self) -> list[Extension]:
        """The plugin of the activation, or none."""
        plugin = registered("activation", self.activation)
        return [] if plugin is None else [plugin]

    @property
    def by_plugin(self) -> bool:
        """Whether the activation is a plugin's."""
        return registered("activation", self.activation) is not None

    @property
    def selects(self) -> bool:
        """Whether sigma keeps a given number of latents."""
        return selects(self.activation)

    def conflicts(self) -> Conflicts:
        name, transcodes = self.activation, self.pair == "transcoder"
        plugin = "; the class of a plugin that uses it declares k: int" if self.by_plugin else ""
        yield self.selects and self.k is None, f"activation {name} needs k"
        yield (
            self.k is not None and not self.selects,
            f"k has no meaning for activation {name}; k latents are kept by {', '.join(SELECTING)}{plugin}",
        )
        yield (self.k or 0) > self.n_q, f"k must be at most n_q = {self.n_q}, found {self.k}"
        yield (
            self.init_l0 and (self.selects or (name != "jumprelu" and not self.bias)),
            "init_l0 sets thresholds of jumprelu, or biases of relu and gated; leave it out",
        )
        yield self.skip and not transcodes, f"skip needs pair transcoder, found {self.pair}, which would copy its input"
        yield name == "lista" and transcodes, "activation lista reads the residual of its input, so pair must be sae"
        yield (
            name == "matching_pursuit" and not (self.tied and self.decoder_norm == "unit"),
            "activation matching_pursuit has one dictionary of unit rows: set tied true and decoder_norm unit",
        )
        yield self.tied and transcodes, "tied needs pair sae or crosscoder: a transcoder writes to another space"
        yield (
            self.tied and self.frozen in ("encoder", "decoder"),
            f"tied weights are one matrix: frozen must be none or both, found {self.frozen}",
        )
        sets_rows = {
            "tied": self.tied,
            "decoder_norm unit": self.decoder_norm == "unit",
            f"frozen {self.frozen}": self.frozen in ("decoder", "both"),
            "initialisation samples": self.initialisation == "samples",
        }
        for setting, is_set in sets_rows.items():
            yield (
                self.archetypes and is_set,
                f"archetypes compute the decoder's rows; leave out {setting}, which sets them too",
            )


def selects(activation: str) -> bool:
    """Return whether an activation keeps a given number of latents."""
    plugin = registered("activation", activation)
    return activation in (*SELECTING, "omp") if plugin is None else bool(plugin.facts["selects"])


class LossConfig(Pluggable):
    """Loss terms beside the reconstruction, and their weights."""

    kinds: ClassVar[tuple[Kind, ...]] = ("loss term",)

    loss_scale: Literal["sum", "mean"] = "sum"
    """sum: squared errors are summed over dimensions (eq. 3); mean: averaged, as by torch's MSELoss. Weights of
    penalties and anchors stay as given, so under mean they count n_r times as much. Clipping applies to the
    resulting gradient."""
    l1: Weight = 0.0
    """Weight of the L1 penalty (eq. 5)."""
    l1_scale: Literal["decoder", "none"] = "decoder"
    """decoder: each latent is multiplied by the norm of its decoder row; none: eq. 5 as written."""
    l1_exponent_end: Annotated[float, Gt(0), Lt(1), AsGiven] | None = None
    """Exponent of the latents in l1 at the end of training (p-annealing); it falls linearly from 1. The weight is
    adjusted to keep the penalty of a batch as large; None for 1 throughout."""
    l1_anneal_start: Annotated[float, Ge(0), Lt(1), AsGiven] = 0.0
    """Share of the steps after which the exponent begins to fall."""
    l0: Weight = 0.0
    """Weight of JumpReLU's L0 penalty (eq. 6). Set the number of active latents by ``target_l0``; only in `search` and
    `reencode` is ``l0`` that number."""
    l0_form: L0Form = "step"
    """step: the number of active latents, through the smoothed step; tanh: a sum of tanh of latents times their decoder
    norms; quadratic: the squared distance of L0 from target_l0, as a share of it, in each sample."""
    frequency: Weight = 0.0
    """Weight of JumpReLU's penalty on latents that are active too often. If it equals l0, the sum of both is the
    quadratic-frequency penalty."""
    multi_k: Sizes = ()
    """The k_i of the multi-scale loss (eq. 9), which replaces the reconstruction loss; empty for none."""
    prefixes: Sizes = ()
    """Sizes of nested dictionaries, the last n_q. Their multi-scale loss (Bussmann et al. 2025) replaces the
    reconstruction loss; empty for none."""
    prefix_detached: bool = False
    """Train each latent only by the reconstruction of the smallest prefix that contains it: larger prefixes add the
    sums of smaller ones without their gradients."""
    hierarchical: bool = False
    """Replace the reconstruction loss by the mean of the losses with 1, 2, ... k latents (HierarchicalTopK). Memory
    grows with k; accumulate divides it."""
    lambda_aux: Weight = 0.0
    """Weight of the auxiliary loss of dead latents (eq. 8)."""
    k_aux: LatentCount = 256
    """Number of dead latents that reconstruct a sample in the auxiliary loss."""
    aux_target: Literal["residual", "input"] = "residual"
    """Target of the auxiliary loss: the residual that the other latents leave, or the input, as in eq. (8)."""
    orthogonality: Weight = 0.0
    """Weight of OrtSAE's penalty on decoder columns of similar directions."""
    orthogonality_chunk: LatentCount = 1024
    """Number of latents in a chunk. Only latents of one chunk are compared; every step draws new chunks."""
    contrast: Weight = 0.0
    """Weight of T-SAE's contrast: neighbouring tokens get similar latents, in the first prefix or, without prefixes,
    in all latents. Training then reads pairs of neighbours, from a store or a stream."""
    contrast_similarity: Literal["cosine", "product"] = "cosine"
    """How contrast compares latents: by their cosine, or by their inner product, as in the authors' code."""
    lambda_anchor: Weight = 0.0
    """Weight of feature anchoring (eq. 24); 0.1 if anchors are given without a weight."""
    anchor_form: AnchorForm = "frobenius"
    """frobenius: squared distance from rows to unit anchors (eq. 25); matched: to anchors of the row's own norm;
    cosine: 1 - cosine."""
    anchor_until: Annotated[float, Gt(0), Le(1), AsGiven] | None = None
    """Share of the steps after which anchors are released; None for never."""
    anchor_fall: Share = 0.0
    """Share of the steps over which the weight of anchors falls linearly to zero. The fall ends at anchor_until, or
    with the training."""
    anchor_cosine: Annotated[float, Gt(0), Lt(1), AsGiven] | None = None
    """Choose lambda_anchor by trial trainings: the smallest weight of a grid that brings anchored decoder columns to
    this cosine with their anchors (`sdlcore.training.train_dictionary`); None takes lambda_anchor as given."""
    penalty_warmup: Share = 0.0
    """Share of the steps over which l1, l0 and other penalties rise linearly from zero."""
    target_l0: Positive | None = None
    """Active latents of a sample to reach: training adjusts l1 and l0, which are then starting values; None keeps them
    fixed. With l0_form quadratic, the target in the penalty, whose weight stays fixed."""
    l0_gain: Positive = 0.02
    """Change of the logarithm of these weights in a step, if L0 is off by a factor of e."""

    def used_plugins(self) -> list[Extension]:
        """The plugins' loss terms whose weights are given."""
        extra = self.model_extra
        return [term for name, term in extensions("loss term").items() if name in extra] if extra else []

    @property
    def is_anchored(self) -> bool:
        """Whether latents are anchored."""
        return bool(self.lambda_anchor or self.anchor_cosine)

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms by name: built-in terms, each a module in `sdlcore.model.losses`, then plugins' terms."""
        ours = (term for name, term in TERMS.items() if getattr(self, name))
        return tuple(dict.fromkeys([*ours, *self.own_terms]))

    @property
    def own_terms(self) -> tuple[str, ...]:
        """Loss terms of plugins. A weight with the name of a term adds the term."""
        return tuple(name for name in self.model_extra or {} if registered("loss term", name) is not None)

    @property
    def own_penalties(self) -> tuple[str, ...]:
        """Loss terms of plugins that declare ``is_penalty``."""
        terms = ((name, registered("loss term", name)) for name in self.own_terms)
        return tuple(name for name, term in terms if term is not None and term.facts["is_penalty"])

    @property
    def penalised(self) -> bool:
        """Whether a penalty keeps latents sparse: l1, l0, or a plugin's term that declares ``is_penalty``."""
        return bool(self.l1 or self.l0 or self.own_penalties)

    def conflicts(self) -> Conflicts:
        for name in ("multi_k", "prefixes"):
            sizes = [*getattr(self, name)]
            yield sizes != sorted(set(sizes)), f"{name} must ascend, found {sizes}"
        yield (
            sum(map(bool, (self.hierarchical, self.multi_k, self.prefixes))) > 1,
            "hierarchical, multi_k and prefixes are three multi-scale losses; set only one",
        )
        yield (
            self.target_l0 and not self.penalised,
            "target_l0 needs l1, l0 or a plugin's penalty (is_penalty=True), whose weight it adjusts",
        )
        if self.l1_exponent_end is not None:
            yield not self.l1, "l1_exponent_end needs l1, whose exponent it anneals"
            for name in ("l0", "frequency", *self.own_penalties):
                yield (
                    getattr(self, name),
                    f"l1_exponent_end adjusts the weights of all penalties to keep l1 as large; leave {name} out",
                )
        quadratic = self.l0_form == "quadratic"
        yield quadratic and self.target_l0 is None, "l0_form quadratic needs target_l0, which L0 is drawn to"
        yield self.lambda_anchor and self.anchor_cosine, "anchor_cosine chooses lambda_anchor; set one of them"


TERMS = {
    "l1": "l1",
    "l0": "l0",
    "frequency": "frequency",
    "multi_k": "multi_scale",
    "prefixes": "multi_scale",
    "hierarchical": "hierarchical",
    "lambda_aux": "auxiliary",
    "orthogonality": "orthogonality",
    "contrast": "contrast",
    "lambda_anchor": "anchor",
    "anchor_cosine": "anchor",
}
"""Settings that add a loss term, each with the name of its term."""


class Config(LossConfig, ModelConfig):
    """Settings of a training: the model, its loss, and how Adam minimises it over shuffled batches.

    `fit` builds it from its keywords. Settings of plugins are further keywords.
    """

    always_given: ClassVar[tuple[str, ...]] = ("resample_every",)
    kinds: ClassVar[tuple[Kind, ...]] = ("activation", "loss term")

    steps: Total = 1000
    """Optimiser steps."""
    batch_size: BatchSize = 1024
    """Samples per step."""
    lr: Positive = 1e-3
    """Adam's peak learning rate."""
    lr_warmup: Share = 0.05
    """Share of the steps over which the learning rate rises linearly."""
    lr_decay: Share = 0.2
    """Share of the steps, at the end, over which the learning rate falls to zero."""
    lr_decay_shape: Literal["linear", "cosine"] = "linear"
    """Shape of this fall: linear, or half a period of a cosine (Loshchilov and Hutter 2017)."""
    k_start: LatentCount | None = None
    """Active latents of a sample at the start; their number then changes linearly to k. None for k throughout."""
    k_decay: Share = 0.5
    """Share of the steps over which the number of active latents changes from k_start to k."""
    accumulate: BatchSize = 1
    """Number of parts that a batch is computed in, one after the other, to save memory; must divide batch_size."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type of the encoder's dense product. bfloat16, and int8 on a CPU, only propose latents, which are then ranked
    exactly."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay (AdamW, Loshchilov and Hutter 2019): each step multiplies weights by
    1 - lr * weight_decay. Biases, thresholds and rows on the unit sphere do not decay."""
    gradient_clip: Positive | None = 1.0
    """Largest norm of the whole gradient; None for no clipping."""
    normalise: bool = True
    """Centre activations and scale them to a mean norm of sqrt(dimension); folded into the saved weights."""
    whiten: bool = False
    """Give activations zero mean and unit covariance, so that every direction counts equally; folded into the
    saved weights. Replaces normalise."""
    dead_after: Total = 20_000
    """A latent is dead when it has been silent for this many samples."""
    resample_every: Total | None = 50
    """Steps between resamplings of dead latents (Bricken et al. 2023; section 5.3); None for none. The default is None
    for activations without k, frozen weights and archetypes."""
    resample_until: Share = 0.5
    """Share of the steps after which no resampling happens."""
    reorder_every: Total | None = None
    """Steps between sortings of the latents by how often they fired since the last one, so that prefixes contain the
    most frequent; None for never."""
    log_every: Total = 20
    """Steps between rows of history.csv."""
    checkpoint_every: Total = 100
    """Steps between checkpoints, rounded up to a row of the history."""

    def named(self) -> dict[str, Any]:
        """Return the settings that were named when it was made; a start determines the others of its model."""
        return {name: value for name, value in self if name in self.model_fields_set}

    @property
    def model(self) -> ModelConfig:
        """The settings of the model alone."""
        return ModelConfig(**self._part(ModelConfig))

    @property
    def loss(self) -> LossConfig:
        """The settings of the loss alone."""
        return LossConfig(**self._part(LossConfig))

    def _part(self, cls: type[ModelConfig] | type[LossConfig]) -> dict[str, Any]:
        """Return the settings that a class and its plugins declare."""
        names = {*cls.model_fields, *(name for one in cls.used_plugins(self) for name in one.settings.model_fields)}
        return {name: value for name, value in self if name in names}

    def used_plugins(self) -> list[Extension]:
        """Return the plugins of the activation and of the loss terms."""
        return [*ModelConfig.used_plugins(self), *LossConfig.used_plugins(self)]

    def check_together(self) -> None:
        cannot_resample = not self.selects or self.frozen != "none" or self.archetypes
        if "resample_every" not in self.model_fields_set and cannot_resample:
            # resampled rows start without JumpReLU's thresholds, and frozen rows or archetypes cannot be redrawn
            self.__dict__["resample_every"] = None
        super().check_together()

    def conflicts(self) -> Conflicts:
        yield from ModelConfig.conflicts(self)
        yield from LossConfig.conflicts(self)
        name, n_q = self.activation, self.n_q
        searches = name in get_args(Searched)
        yield searches, f"activation {name} searches on known rows; train with another, and call sdl.search"
        for setting in ("multi_k", "hierarchical", "k_start"):
            yield (
                getattr(self, setting) and not self.selects,
                f"{setting} needs an activation with k, such as topk, found {name}",
            )
        yield (
            self.multi_k and max(self.multi_k) != self.k,
            f"the largest of multi_k {list(self.multi_k)} must be k = {self.k}",
        )
        yield (
            self.prefixes and self.prefixes[-1] != n_q,
            f"the last of prefixes {list(self.prefixes)} must be n_q = {n_q}",
        )
        yield (
            name == "gated" and not self.l1,
            "activation gated needs l1, without which its gates do not become sparse",
        )
        for setting in ("l0", "frequency"):
            yield (
                getattr(self, setting) and name != "jumprelu",
                f"{setting} needs activation jumprelu, found {name}; topk and batchtopk keep k latents",
            )
        anchoring = "anchor_cosine" if self.anchor_cosine else "lambda_anchor"
        for setting, is_set in {anchoring: self.is_anchored, "resample_every": bool(self.resample_every)}.items():
            yield is_set and self.frozen != "none", f"{setting} changes both weights, but frozen is {self.frozen}"
        if self.archetypes is not None:
            moving = {
                anchoring: self.is_anchored,
                "resample_every": self.resample_every,
                "l1 with l1_scale decoder": self.l1 and self.l1_scale == "decoder",
                "l0_form tanh": self.l0 and self.l0_form == "tanh",
                "orthogonality": self.orthogonality,
                "hierarchical": self.hierarchical,
                f"activation {name}": name in ("gated", "lista") or self.by_plugin,
                **dict.fromkeys(self.own_terms, True),
            }
            for setting, moves in moving.items():
                yield (
                    moves,
                    f"archetypes compute the decoder's rows only after the training; leave out {setting}, which reads "
                    "or moves them in each step",
                )
        yield self.hierarchical and self.k_start, "hierarchical trains every k up to k; leave k_start out"
        yield (self.k_start or 0) > n_q, f"k_start must be at most n_q = {n_q}, found {self.k_start}"
        yield (
            self.reorder_every and self.is_anchored,
            "reorder_every moves latents, but anchors hold the first ones; leave reorder_every out",
        )
        part, rest = divmod(self.batch_size, self.accumulate)
        yield rest, f"accumulate = {self.accumulate} must divide batch_size = {self.batch_size}"
        yield (
            self.contrast and (part % 2 or part < 4),
            f"contrast compares two or more pairs: batch_size / accumulate must be even and at least 4, found {part}",
        )
        yield self.whiten and self.skip, "skip needs activations that are not whitened; leave out whiten or skip"


def is_centred(settings: Mapping[str, Json]) -> bool:
    """Return whether settings of a training or a solver remove the mean from the activations."""
    return bool(settings.get("normalise") or settings.get("whiten"))


def check_division(config: Config, processes: int) -> str | None:
    """Return why processes cannot divide the batches of a training, or None."""
    if processes > 1 and config.contrast:
        return "contrast compares all samples of a batch, but processes divide them; train with one process"
    if config.batch_size % (config.accumulate * processes):
        parts = f"{processes} processes" + (f" x accumulate = {config.accumulate}" if config.accumulate > 1 else "")
        return f"batch_size = {config.batch_size} must be a multiple of {parts} that divide samples"
    return None
