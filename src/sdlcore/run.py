"""Settings of a run: the model, its loss and its training, three frozen dataclasses.

The keys are flat and unique over the three, so that a method is one line of configuration. The configuration's models
take meaning, range and default of each key from here (`sdlcore.study.settings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar, Literal, Self, get_args

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.plugins.extensible import Extensible, parts_of
from sdlcore.plugins.names import Name
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Kind, extensions, registered
from sdlcore.settings import (
    Batch,
    FromJson,
    Json,
    Latents,
    Pair,
    Positive,
    Share,
    Split,
    Total,
    Weight,
    as_lists,
    check,
    hints,
    used,
    used_by,
    weight_of,
)

Activation = Literal["relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk", "lista", "matching_pursuit"]
"""Each is a module in `sdlcore.model.activations`."""
AnyActivation = Annotated[str, Name("activation", get_args(Activation))]
"""One of these, or of a plugin."""
SELECTING: tuple[Activation, ...] = ("topk", "batchtopk", "abstopk", "lista", "matching_pursuit")
"""Those of ours that keep a given number of latents, and so need k."""
AnchorForm = Literal["frobenius", "matched", "cosine"]
"""The distance between rows and their anchors that the loss measures (`sdlcore.losses.anchor`)."""
L0Form = Literal["step", "tanh", "quadratic"]
"""How JumpReLU's penalty counts active latents (`sdlcore.losses.l0`)."""
FIT = (
    "x",
    "target",
    "seed",
    "anchors",
    "start",
    "watch",
    "device",
    "progress",
    "out",
    "optimizer",
    "schedule",
    "callbacks",
)
"""Other arguments of `sdl.fit`."""
TAKEN = (*FIT, "like", "warm_start", "solver", "peer", "model", "own", "pursuit", "training")
"""What no setting of a plugin may be called, beside the settings of runs: it would have another value."""
LAMBDA_ANCHOR = 0.1
"""The weight of anchors that are given without one: the paper's on the bench."""


@dataclass(frozen=True)
class ModelConfig(Extensible):
    """Which pair, which sigma, how many latents (Definition 2.5)."""

    extended_by: ClassVar[Kind] = "activation"

    pair: Pair = "sae"
    """sae: x_r = x_p; transcoder: input to target; crosscoder: input and target, concatenated, to themselves."""
    activation: AnyActivation = "relu"
    """Activation function, sigma in Definition 2.5: relu, jumprelu, topk, batchtopk, gated, abstopk, lista,
    matching_pursuit, or one of a plugin."""
    n_q: Latents = 1024
    """Number of latents."""
    k: Latents | None = None
    """Active latents of a sample (topk, abstopk, lista), steps of matching_pursuit, or active latents on average over a
    batch (batchtopk)."""
    bias: bool = False
    """Train b_E and b_D; the paper's model has none."""
    center: bool = False
    """Start b_D at the geometric median of targets, b_E where inputs at their median give zero; needs bias."""
    initialisation: Literal["linear", "tied", "samples"] = "linear"
    """linear: uniform as nn.Linear; tied: unit decoder rows, encoder the same rows times init_scale; samples: as tied,
    but rows are random training samples, the decoder's those of the target."""
    init_scale: Positive = 0.1
    """Scale of the encoder rows where they are tied or samples."""
    init_threshold: Positive = used_by("activation", "jumprelu", default=0.1)
    """Threshold at which JumpReLU starts, unless ``init_l0`` sets it."""
    init_l0: Positive | None = None
    """Active latents of a sample at the start: JumpReLU's thresholds, or the encoder biases of ReLU and Gated, are set
    from the first batch; None leaves them at init_threshold and zero."""
    bandwidth: Positive = used_by("activation", "jumprelu", default=0.4)
    """Width of JumpReLU's straight-through kernel, as a share of the threshold at the start."""
    ista_step: Positive = used_by("activation", "lista", default=0.1)
    """Step size of LISTA's step at the start; a factor of each latent's step is trained."""
    ista_selects: Literal["sample", "batch"] = used_by("activation", "lista", default="sample")
    """sample: LISTA keeps k latents of each sample, as topk; batch: k of a sample on average, as batchtopk."""
    tied: bool = False
    """One matrix for encoder and decoder, W_D = W_E^T, throughout training; needs x_r = x_p. Both start as the encoder
    does."""
    frozen: Literal["none", "encoder", "decoder", "both"] = "none"
    """Weights that stay as they were drawn: null baselines, which show what a score is worth. Biases and thresholds
    are trained all the same."""
    decoder_norm: Literal["free", "unit"] = "free"
    """free, or unit: decoder rows are kept on the unit sphere, their gradients tangent to it."""
    skip: bool = False
    """A transcoder's linear path W_skip x_p beside the latents (Paulo et al. 2025); it starts at zero."""
    pursuit: Annotated[int, Ge(0)] = 0
    """Sweeps of non-negative coordinate descent over a sample's k latents, which make the encoder iterative; of
    dictionaries that were solved for (`sdlcore.solvers`)."""

    def __post_init__(self) -> None:
        check(self)
        self._fill_own([self.activation])
        if self.center and not self.bias:
            raise ValueError("center needs bias, which it starts")
        if self.selects and self.k is None:
            raise ValueError(f"activation {self.activation} needs k")
        if not self.selects and self.k is not None:
            raise ValueError(f"k has no meaning for activation {self.activation}")
        if self.k is not None and not 1 <= self.k <= self.n_q:
            raise ValueError(f"k must be between 1 and n_q = {self.n_q}, found {self.k}")
        if self.init_l0 is not None and self.selects:
            raise ValueError(f"init_l0 has no meaning for activation {self.activation}, which keeps k")
        if self.init_l0 is not None and self.activation != "jumprelu" and not self.bias:
            raise ValueError(f"init_l0 needs bias with activation {self.activation}")
        if self.skip and self.pair != "transcoder":
            raise ValueError(f"skip needs pair transcoder, found {self.pair}: another would copy its input")
        if self.activation == "lista" and self.pair == "transcoder":
            raise ValueError("activation lista needs pair sae or crosscoder: its step reads the residual of the input")
        if self.activation == "matching_pursuit" and not (self.tied and self.decoder_norm == "unit"):
            raise ValueError(
                "activation matching_pursuit has one dictionary of unit rows: set tied true and decoder_norm unit"
            )
        if self.tied and self.pair == "transcoder":
            raise ValueError("tied needs pair sae or crosscoder: a transcoder's encoder and decoder are of two spaces")
        if self.tied and self.frozen in ("encoder", "decoder"):
            raise ValueError(f"tied weights are one matrix: frozen must be none or both, found {self.frozen}")
        if self.pursuit and (self.activation != "topk" or self.pair == "transcoder"):
            raise ValueError(f"pursuit needs activation topk and x_r = x_p, found {self.activation}, {self.pair}")

    @property
    def by_plugin(self) -> bool:
        return registered("activation", self.activation) is not None

    @property
    def selects(self) -> bool:
        """Whether sigma keeps a given number of latents."""
        own = registered("activation", self.activation)
        return self.activation in SELECTING if own is None else bool(own.facts["selects"])


@dataclass(frozen=True)
class LossConfig(Extensible):
    """Which terms stand beside the reconstruction, and their weights."""

    extended_by: ClassVar[Kind] = "loss term"

    # Used by itself: where it is left out, a run stays the run that it was before the setting existed.
    loss_scale: Literal["sum", "mean"] = used_by("loss_scale", "mean", default="sum")
    """sum: squared errors are summed over dimensions (eq. 3); mean: averaged, as by torch's MSELoss. Weights of
    penalties and anchors stay as given, so under mean they count n_r times as much. Clipping sees the gradient that
    results."""
    l1: Weight = weight_of("l1", default=0.0)
    """Weight of the L1 penalty (eq. 5)."""
    l1_scale: Literal["decoder", "none"] = used_by("l1", default="decoder")
    """decoder: latents count times the norms of their decoder rows; none: as eq. 5 is written."""
    # Used by itself: if it is left out, a run stays the run that it was before the setting existed.
    l1_exponent_end: Annotated[float, Gt(0), Lt(1)] | None = used_by("l1_exponent_end", default=None)
    """Exponent of the latents in l1 at the end of training (p-annealing); it falls linearly from 1. The weight is
    adjusted so that the penalty of a batch stays as large; None for 1 throughout."""
    l1_anneal_start: Annotated[float, Ge(0), Lt(1)] = used_by("l1_exponent_end", default=0.0)
    """Share of the steps after which the exponent begins to fall."""
    l0: Weight = weight_of("l0", default=0.0)
    """Weight of JumpReLU's L0 penalty (eq. 6)."""
    # Used by itself: if it is left out, a run stays the run that it was before the setting existed.
    l0_form: L0Form = used_by("l0_form", "tanh", "quadratic", default="step")
    """step: the number of active latents, through the smoothed step; tanh: a sum of tanh of latents times their decoder
    norms; quadratic: the squared distance of L0 from target_l0, as a share of it, in each sample."""
    tanh_scale: Positive = used_by("l0_form", "tanh", default=4.0)
    """Factor in the tanh of l0_form tanh."""
    frequency: Weight = weight_of("frequency", default=0.0)
    """Weight of JumpReLU's penalty on latents that are active too often; with the value of l0, both make the
    quadratic-frequency penalty."""
    frequency_scale: Annotated[float, Gt(0), Le(1)] = used_by("frequency", default=0.1)
    """Share of a batch's samples: a latent that is active in more of them is active too often."""
    multi_k: tuple[Latents, ...] = weight_of("multi_scale", default=())
    """The k_i of the multi-scale loss (eq. 9), which takes the place of the reconstruction; empty for none."""
    prefixes: tuple[Latents, ...] = weight_of("multi_scale", default=())
    """Numbers of latents, the last n_q: a multi-scale loss of nested dictionaries (Bussmann et al. 2025) instead."""
    # Used by itself: if it is left out, a run stays the run that it was before the setting existed.
    prefix_detached: bool = used_by("prefix_detached", default=False)
    """Train each latent by the reconstruction of the smallest prefix that contains it, alone: the sums of earlier
    prefixes are detached from the larger ones."""
    hierarchical: bool = weight_of("hierarchical", default=False)
    """Take the mean of the errors of every number of latents up to k instead of the reconstruction (HierarchicalTopK).
    Memory grows with k; accumulate divides it."""
    lambda_aux: Weight = weight_of("auxiliary", default=0.0)
    """Weight of the auxiliary loss of dead latents (eq. 8)."""
    k_aux: Latents = used_by("lambda_aux", default=256)
    """Dead latents that reconstruct a sample in the auxiliary loss."""
    aux_target: Literal["residual", "input"] = used_by("lambda_aux", default="residual")
    """What they reconstruct: the residual of the living, or the input, as eq. (8) has it."""
    orthogonality: Weight = weight_of("orthogonality", default=0.0)
    """Weight of OrtSAE's penalty on decoder columns of similar directions."""
    orthogonality_chunk: Latents = used_by("orthogonality", default=1024)
    """Latents that are compared with each other; chunks are drawn anew in every step."""
    lambda_anchor: Weight = weight_of("anchor", default=0.0)
    """Weight of feature anchoring (eq. 24); set by the anchoring, not by the method."""
    # Used by themselves: where they are left out, an anchored run stays the run that it was before they were there.
    anchor_form: AnchorForm = used_by("anchor_form", "matched", "cosine", default="frobenius")
    """frobenius: squared distance from rows to unit anchors (eq. 25); matched: to anchors of the row's own norm;
    cosine: 1 - cosine."""
    anchor_until: Annotated[float, Gt(0), Le(1)] | None = used_by("anchor_until", default=None)
    """Share of the steps after which anchors are released; None for never."""
    anchor_fall: Share = used_by("anchor_fall", default=0.0)
    """Share of the steps, the last that have anchors, over which the weight of anchors falls linearly to zero."""
    anchor_cosine: Annotated[float, Gt(0), Lt(1)] | None = weight_of("anchor", default=None)
    """Choose lambda_anchor by trial trainings: the smallest of a grid with which anchored decoder columns come this
    near to their anchors (`sdlcore.training.anchor_weight`); None takes lambda_anchor as given."""
    penalty_warmup: Share = 0.0
    """Share of the steps over which l1 and l0 rise linearly from zero."""
    target_l0: Positive | None = None
    """Active latents of a sample that l1 and l0 are adjusted to hold, from the weights given; None: fixed weights. With
    l0_form quadratic, the target of the penalty itself, whose weight is fixed."""
    l0_gain: Positive = used_by("target_l0", default=0.02)
    """Change of their logarithm in a step for an L0 that is off by a factor of e."""

    @property
    def anchors(self) -> bool:
        """Whether latents are anchored."""
        return bool(self.lambda_anchor or self.anchor_cosine)

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that are asked for, each a module in `sdlcore.losses`; then those of plugins."""
        ours = (f.metadata["term"] for f in fields(self) if "term" in f.metadata and getattr(self, f.name))
        return tuple(dict.fromkeys([*ours, *self.own_terms]))

    @property
    def adjusted(self) -> bool:
        """Whether weights of penalties are adjusted from step to step to hold ``target_l0``."""
        return self.target_l0 is not None and self.l0_form != "quadratic"

    @property
    def penalised(self) -> bool:
        """Whether a penalty keeps latents sparse: l1, l0, or a plugin's term that declares ``rises``."""
        own = (registered("loss term", name) for name in self.own_terms)
        return bool(self.l1 or self.l0 or any(term is not None and term.facts["rises"] for term in own))

    @property
    def own_terms(self) -> tuple[str, ...]:
        """Those of plugins: each is asked for by its weight, which has its name."""
        return tuple(name for name in (extensions("loss term") if self.own else {}) if self.own.get(name))

    def __post_init__(self) -> None:
        check(self)
        self._fill_own(self.own_terms)
        for name in ("multi_k", "prefixes"):
            sizes = getattr(self, name)
            if list(sizes) != sorted(set(sizes)):
                raise ValueError(f"{name} must ascend, found {list(sizes)}")
        if self.multi_k and self.prefixes:
            raise ValueError("multi_k and prefixes are two multi-scale losses; set one of them")
        if self.prefix_detached and not self.prefixes:
            raise ValueError("prefix_detached needs prefixes, whose sums it detaches")
        if self.hierarchical and (self.multi_k or self.prefixes):
            raise ValueError("hierarchical, multi_k and prefixes are three multi-scale losses; set only one")
        if self.target_l0 is not None and not self.penalised:
            raise ValueError("target_l0 needs l1, l0 or a plugin's penalty (rises=True), whose weight it adjusts")
        if self.l1_exponent_end is not None and not self.l1:
            raise ValueError("l1_exponent_end needs l1, whose exponent it anneals")
        if self.l0_form != "step" and not self.l0:
            raise ValueError(f"l0_form {self.l0_form} needs l0, the weight of that penalty")
        if self.l0_form == "quadratic" and self.target_l0 is None:
            raise ValueError("l0_form quadratic needs target_l0, which L0 is drawn to")
        if self.lambda_anchor and self.anchor_cosine:
            raise ValueError("anchor_cosine chooses lambda_anchor; set one of them")
        for name in ("anchor_form", "anchor_until", "anchor_fall"):
            if name in used(self) and not self.anchors:
                raise ValueError(f"{name} needs lambda_anchor or anchor_cosine")


@dataclass(frozen=True)
class TrainingConfig(FromJson):
    """How the loss is minimised: Adam over shuffled batches."""

    steps: Total = 1000
    """Optimiser steps."""
    batch_size: Batch = 1024
    """Samples of a step."""
    lr: Positive = 1e-3
    """Adam's peak learning rate."""
    lr_warmup: Share = 0.05
    """Share of the steps over which the learning rate rises linearly."""
    lr_decay: Share = 0.2
    """Share of the last steps over which the learning rate falls to zero."""
    # Used by itself: where it is left out, a run stays the run that it was before the setting existed.
    lr_decay_shape: Literal["linear", "cosine"] = used_by("lr_decay_shape", "cosine", default="linear")
    """How it falls: linearly, or as half a period of a cosine (Loshchilov and Hutter 2017)."""
    # Used by itself, as is lr_decay_shape.
    k_start: Latents | None = used_by("k_start", default=None)
    """Active latents of a sample at the start; their number goes linearly to k. None for k throughout."""
    k_decay: Share = used_by("k_start", default=0.5)
    """Share of the steps after which k is reached from k_start."""
    accumulate: Batch = 1
    """Parts that a batch is split into, one after the other, to save memory; divides batch_size."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type of the encoder's dense product: float32; bfloat16, or int8 on a CPU, whose proposals are ranked exactly."""
    weight_decay: Weight = 0.0
    """Decoupled decay of the weights (AdamW, Loshchilov and Hutter 2019), as a share of lr a step. Biases, thresholds
    and rows on the unit sphere do not decay."""
    gradient_clip: Positive | None = 1.0
    """Largest norm of the whole gradient; None leaves it as it is."""
    normalise: bool = False
    """Centre activations and scale them to a mean norm of sqrt(dimension); folded into the saved weights."""
    whiten: bool = False
    """Give activations zero mean and unit covariance, and so every direction the same weight; folded into the
    saved weights."""
    dead_after: Total = 20_000
    """A latent is dead when it has been silent for this many samples."""
    resample_every: Total | None = None
    """Steps between resamplings of dead latents (Bricken et al. 2023; section 5.3); None for none."""
    resample_until: Share = 0.8
    """Share of the steps after which no resampling happens."""
    # Used by itself, as is lr_decay_shape.
    reorder_every: Total | None = used_by("reorder_every", default=None)
    """Steps after which the latents are sorted by how often they fired since, so that prefixes hold the most frequent;
    None for never."""
    log_every: Total = 20
    """Steps between rows of history.csv."""
    checkpoint_every: Total = 100
    """Steps between checkpoints, rounded up to a row of the history."""

    def __post_init__(self) -> None:
        check(self)
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate = {self.accumulate} must divide batch_size = {self.batch_size}")
        if self.lr_decay_shape != "linear" and not self.lr_decay:
            raise ValueError(f"lr_decay_shape is {self.lr_decay_shape}, but lr_decay is 0; set the share that falls")


@dataclass(frozen=True)
class RunConfig(FromJson):
    """All settings of a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        model, loss = self.model, self.loss
        if loss.multi_k and not model.selects:
            raise ValueError(f"multi_k needs an activation with k, such as topk, found {model.activation}")
        if loss.hierarchical and not model.selects:
            raise ValueError(f"hierarchical needs an activation with k, such as topk, found {model.activation}")
        if loss.multi_k and max(loss.multi_k) != model.k:
            raise ValueError(f"the largest of multi_k {list(loss.multi_k)} must be k = {model.k}")
        if loss.prefixes and loss.prefixes[-1] != model.n_q:
            raise ValueError(f"the last of prefixes {list(loss.prefixes)} must be n_q = {model.n_q}")
        if model.activation == "gated" and not loss.l1:
            raise ValueError("activation gated needs l1, without which its gates do not become sparse")
        if loss.l0 and model.activation != "jumprelu":
            raise ValueError(f"l0 needs activation jumprelu, found {model.activation}")
        if loss.frequency and model.activation != "jumprelu":
            raise ValueError(f"frequency needs activation jumprelu, found {model.activation}")
        if loss.target_l0 is not None and loss.target_l0 > model.n_q:
            raise ValueError(f"target_l0 must be at most n_q = {model.n_q}, found {loss.target_l0:g}")
        if loss.anchors and model.frozen != "none":
            raise ValueError(f"lambda_anchor moves both weights, but frozen is {model.frozen}")
        if self.training.resample_every and model.frozen != "none":
            raise ValueError(f"resample_every redraws rows of both weights, but frozen is {model.frozen}")
        k_start = self.training.k_start
        if k_start is not None and not model.selects:
            raise ValueError(f"k_start needs an activation with k, such as topk, found {model.activation}")
        if k_start is not None and loss.hierarchical:
            raise ValueError("hierarchical trains every k up to k; leave k_start out")
        if k_start is not None and k_start > model.n_q:
            raise ValueError(f"k_start must be at most n_q = {model.n_q}, found {k_start}")
        if self.training.reorder_every and not loss.prefixes:
            raise ValueError("reorder_every needs prefixes, which it sorts latents for")
        if self.training.reorder_every and loss.anchors:
            raise ValueError("reorder_every moves latents, but anchors hold the first ones; leave reorder_every out")
        if model.pursuit:
            raise ValueError("pursuit is no setting of a training: no gradient passes through it")
        if self.training.whiten and (self.training.normalise or self.model.skip):
            raise ValueError(
                "whiten centres and scales by itself, and knows no linear path: leave out normalise and skip"
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Json]) -> Self:
        """Build from flat settings; what is left out takes its default.

        Raises
        ------
        ValueError
            For an unknown key or settings that do not go together.
        """
        model, loss, training = (
            {field.name: settings[field.name] for field in fields(part) if field.name in settings}
            for part in (ModelConfig, LossConfig, TrainingConfig)
        )
        if unknown := settings.keys() - model.keys() - loss.keys() - training.keys():
            # most runs have none of these, and need not know of plugins
            of_plugins = {kind: own_settings(kind) for kind in ("activation", "loss term")}
            model |= {name: settings[name] for name in unknown & of_plugins["activation"].keys()}
            loss |= {name: settings[name] for name in unknown & of_plugins["loss term"].keys()}
            if left := sorted(unknown - model.keys() - loss.keys()):
                known = (*cls().to_dict(), *of_plugins["activation"], *of_plugins["loss term"])
                raise ValueError(f"unknown run settings: {', '.join(left)}{hints(left, (*known, 'seed'))}")
        return cls(ModelConfig.from_dict(model), LossConfig.from_dict(loss), TrainingConfig.from_dict(training))

    def to_dict(self) -> dict[str, Json]:
        """Return the flat settings, as `from_dict` takes them and JSON can hold them."""
        return flat(self.model.to_dict(), self.loss.to_dict(), self.training.to_dict())

    def used(self) -> dict[str, Json]:
        """Return the flat settings without those of parts that the run does not have, e.g. of other activations."""
        return flat(self.model.used(), self.loss.used(), used(self.training))

    @property
    def sigma_parts(self) -> tuple[str, ...]:
        """The modules that the dictionary's activation is imported from by its name."""
        return parts_of("activation", self.model.activation, "sdlcore.model.activations")

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules that the run imports by names in its settings: the dictionary's activation, then loss terms."""
        losses = (part for term in self.loss.terms for part in parts_of("loss term", term, "sdlcore.losses"))
        return (*self.sigma_parts, *losses)


def is_centred(settings: Mapping[str, Json]) -> bool:
    """Tell by the settings of a training or a solver whether its dictionary sees activations without their mean."""
    return bool(settings.get("normalise") or settings.get("whiten"))


def flat(*parts: dict[str, Json]) -> dict[str, Json]:
    """Return the settings of a run's parts in one, as JSON can hold them."""
    merged = {key: value for part in parts for key, value in part.items()}
    del merged["pursuit"]  # no setting of a training
    return as_lists(merged)


def check_division(config: RunConfig, processes: int, split: Split) -> str | None:
    """Return why a training cannot be divided among processes (each has its part of ``split``, samples or latents), or
    None."""
    training, n_q = config.training, config.model.n_q
    if split == "latents" and training.reorder_every:
        return "reorder_every sorts all latents, but processes divide them; divide samples instead"
    if split == "latents" and n_q % processes:
        return f"n_q = {n_q} must be a multiple of {processes} processes that divide latents"
    if split == "samples" and training.batch_size % (training.accumulate * processes):
        parts = f"{processes} processes" + (f" x accumulate = {training.accumulate}" if training.accumulate > 1 else "")
        return f"batch_size = {training.batch_size} must be a multiple of {parts} that divide samples"
    return None
