"""Settings of a training: the model, its loss, and how the loss is minimised.

Keys are flat, and no two of these parts share a key, so a method fits on one line of a configuration.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.plugins.extensible import Extensible
from sdlcore.plugins.names import Name
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Kind, extensions, registered
from sdlcore.settings import (
    AsGiven,
    Batch,
    Json,
    Latents,
    Pair,
    Positive,
    Settings,
    Share,
    Sizes,
    Split,
    Total,
    UsedBy,
    Weight,
    WeightOf,
    default_of,
    marked,
)
from sdlcore.suggestions import hints
from sdlcore.text import printable

Activation = Literal["relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk", "lista", "matching_pursuit"]
"""Each is a module in `sdlcore.model.activations`."""
Searched = Literal["posterior", "omp", "gradient_pursuit"]
"""Searches for codes, given decoder rows (`sdl.search`); also modules in `sdlcore.model.activations`. They are not
trained."""
AnyActivation = Annotated[str, Name("activation", get_args(Activation), get_args(Searched))]
"""Name of an activation or a search, built in or from a plugin."""
SELECTING: tuple[Activation, ...] = ("topk", "batchtopk", "abstopk", "lista", "matching_pursuit")
"""Built-in activations that keep a given number of latents, and so need k."""
PURSUITS: tuple[Searched, ...] = ("omp", "gradient_pursuit")
"""Searches that need k."""
AnchorForm = Literal["frobenius", "matched", "cosine"]
"""The distance between rows and their anchors that the loss measures (`sdlcore.model.losses.anchor`)."""
L0Form = Literal["step", "tanh", "quadratic"]
"""How JumpReLU's penalty counts active latents (`sdlcore.model.losses.l0`)."""
FIT = (
    "x",
    "target",
    "seed",
    "anchors",
    "start",
    "watch",
    "device",
    "split",
    "progress",
    "out",
    "callbacks",
)
"""Arguments of `sdl.fit` that are not settings."""
TAKEN = (*FIT, "like", "warm_start", "solver", "peer", "model", "settings_of_plugin", "pursuit", "training")
"""Names that are refused for settings of plugins, as the names of runs' settings are: they already mean something."""
MOST_SWEEPS = 1000
"""Largest number of sweeps of a pursuit or a solver. More would take very long, and change nothing."""
LAMBDA_ANCHOR = 0.1
"""Default weight of given anchors: the paper's weight on the bench."""


class ModelConfig(Extensible):
    """Settings of the model: pair, activation function, number of latents (Definition 2.5)."""

    extended_by: ClassVar[Kind] = "activation"

    pair: Pair = "sae"
    """sae: x_r = x_p; transcoder: input to target; crosscoder: all sites, concatenated, to themselves."""
    activation: AnyActivation = "relu"
    """Activation function, sigma in Definition 2.5: relu, jumprelu, topk, batchtopk, gated, abstopk, lista,
    matching_pursuit, or a plugin's."""
    n_q: Latents = 1024
    """Number of latents."""
    k: Latents | None = None
    """Active latents of a sample (topk, abstopk, lista), steps of matching_pursuit, or active latents on average over a
    batch (batchtopk)."""
    bias: bool = True
    """Train b_E and b_D; the paper's model has none."""
    initialisation: Literal["linear", "tied", "samples"] = "linear"
    """linear: uniform, as in nn.Linear; tied: unit decoder rows, and the same encoder rows times init_scale; samples:
    as tied, but rows are random training samples, inputs in the encoder and targets in the decoder."""
    init_scale: Annotated[Positive, UsedBy("initialisation", "tied", "samples")] = 0.1
    """Scale of the encoder rows with initialisation tied or samples."""
    init_threshold: Annotated[Positive, UsedBy("activation", "jumprelu")] = 0.1
    """Threshold at which JumpReLU starts, unless ``init_l0`` sets it."""
    init_l0: Positive | None = None
    """Active latents of a sample at the start. The first batch sets JumpReLU's thresholds, or the encoder biases of
    ReLU and Gated, to reach this number; None starts from init_threshold and zero biases."""
    bandwidth: Annotated[Positive, UsedBy("activation", "jumprelu")] = 0.4
    """Width of JumpReLU's straight-through kernel, as a share of the threshold at the start."""
    ista_step: Annotated[Positive, UsedBy("activation", "lista")] = 0.1
    """Step size of LISTA at the start; training adjusts a factor for each latent."""
    tied: bool = False
    """One matrix for encoder and decoder, W_D = W_E^T, throughout training; needs x_r = x_p. It starts as an
    encoder does."""
    frozen: Literal["none", "encoder", "decoder", "both"] = "none"
    """Weights that keep their initial values, for null baselines. Biases and thresholds are still trained."""
    decoder_norm: Literal["free", "unit"] = "free"
    """unit: decoder rows stay on the unit sphere, and their gradients are tangent to it; free: no constraint."""
    archetypes: Latents | None = None
    """Number of k-means centroids of the target (RA-SAE). Each decoder row is a mixture of them, up to a relaxation;
    None for free rows. The memory and time that they add to a step grow with n_q times their number."""
    relaxation: Annotated[Weight, UsedBy("archetypes")] = 1.0
    """Largest distance from a decoder row to its mixture of centroids, in units of the activations that training sees;
    with normalise, these have a mean norm of sqrt(dimension)."""
    skip: bool = False
    """A transcoder's linear path W_skip x_p beside the latents (Paulo et al. 2025); it starts at zero."""
    pursuit: Annotated[int, Ge(0), Le(MOST_SWEEPS)] = 0
    """Sweeps of non-negative coordinate descent that the encoder adds, over the active latents of a sample. Solvers
    (`sdlcore.solvers`) and `search` by non-negative least squares set it; 0 for none."""

    @property
    def chosen(self) -> tuple[str, ...]:
        return (self.activation,)

    def check_together(self) -> None:
        super().check_together()
        if self.selects and self.k is None:
            raise ValueError(f"activation {self.activation} needs k")
        if not self.selects and self.k is not None:
            keep = ", ".join(SELECTING)
            remedy = "; the class of a plugin that uses it declares k: int" if self.by_plugin else ""
            raise ValueError(f"k has no meaning for activation {self.activation}; k latents are kept by {keep}{remedy}")
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
            raise ValueError("tied needs pair sae or crosscoder: a transcoder reads and writes different spaces")
        if self.tied and self.frozen in ("encoder", "decoder"):
            raise ValueError(f"tied weights are one matrix: frozen must be none or both, found {self.frozen}")
        if self.archetypes is not None:
            others = {
                "tied": self.tied,
                "decoder_norm unit": self.decoder_norm == "unit",
                f"frozen {self.frozen}": self.frozen in ("decoder", "both"),
                "initialisation samples": self.initialisation == "samples",
            }
            if conflicts := [name for name, is_set in others.items() if is_set]:
                raise ValueError(
                    f"archetypes compute the decoder's rows; leave out {conflicts[0]}, which sets them too"
                )
        encoders = ("abstopk", "lista", "matching_pursuit", *get_args(Searched))
        if self.pursuit and (self.activation in encoders or self.pair == "transcoder"):
            raise ValueError(
                "pursuit needs x_r = x_p and latents that are never negative, chosen by an encoder, found "
                f"{self.activation}, {self.pair}"
            )

    @property
    def by_plugin(self) -> bool:
        return registered("activation", self.activation) is not None

    @property
    def selects(self) -> bool:
        """Whether sigma keeps a given number of latents."""
        plugin = registered("activation", self.activation)
        return self.activation in (*SELECTING, *PURSUITS) if plugin is None else bool(plugin.facts["selects"])


class LossConfig(Extensible):
    """Loss terms beside the reconstruction, and their weights."""

    extended_by: ClassVar[Kind] = "loss term"

    loss_scale: Literal["sum", "mean"] = "sum"
    """sum: squared errors are summed over dimensions (eq. 3); mean: averaged, as by torch's MSELoss. Weights of
    penalties and anchors stay as given, so under mean they count n_r times as much. Clipping applies to the
    resulting gradient."""
    l1: Annotated[Weight, WeightOf("l1")] = 0.0
    """Weight of the L1 penalty (eq. 5)."""
    l1_scale: Annotated[Literal["decoder", "none"], UsedBy("l1")] = "decoder"
    """decoder: each latent is multiplied by the norm of its decoder row; none: eq. 5 as written."""
    l1_exponent_end: Annotated[float, Gt(0), Lt(1), AsGiven] | None = None
    """Exponent of the latents in l1 at the end of training (p-annealing); it falls linearly from 1. The weight is
    adjusted to keep the penalty of a batch as large; None for 1 throughout."""
    l1_anneal_start: Annotated[Annotated[float, Ge(0), Lt(1), AsGiven], UsedBy("l1_exponent_end")] = 0.0
    """Share of the steps after which the exponent begins to fall."""
    l0: Annotated[Weight, WeightOf("l0")] = 0.0
    """Weight of JumpReLU's L0 penalty (eq. 6). Set the number of active latents by ``target_l0``; only in `search` and
    `reencode` is ``l0`` that number."""
    l0_form: L0Form = "step"
    """step: the number of active latents, through the smoothed step; tanh: a sum of tanh of latents times their decoder
    norms; quadratic: the squared distance of L0 from target_l0, as a share of it, in each sample."""
    frequency: Annotated[Weight, WeightOf("frequency")] = 0.0
    """Weight of JumpReLU's penalty on latents that are active too often. If it equals l0, the sum of both is the
    quadratic-frequency penalty."""
    multi_k: Annotated[Sizes, WeightOf("multi_scale")] = ()
    """The k_i of the multi-scale loss (eq. 9), which replaces the reconstruction loss; empty for none."""
    prefixes: Annotated[Sizes, WeightOf("multi_scale")] = ()
    """Sizes of nested dictionaries, the last n_q. Their multi-scale loss (Bussmann et al. 2025) replaces the
    reconstruction loss; empty for none."""
    prefix_detached: bool = False
    """Train each latent only by the reconstruction of the smallest prefix that contains it: larger prefixes add the
    sums of smaller ones without their gradients."""
    hierarchical: Annotated[bool, WeightOf("hierarchical")] = False
    """Replace the reconstruction loss by the mean of the losses with 1, 2, ... k latents (HierarchicalTopK). Memory
    grows with k; accumulate divides it."""
    lambda_aux: Annotated[Weight, WeightOf("auxiliary")] = 0.0
    """Weight of the auxiliary loss of dead latents (eq. 8)."""
    k_aux: Annotated[Latents, UsedBy("lambda_aux")] = 256
    """Number of dead latents that reconstruct a sample in the auxiliary loss."""
    aux_target: Annotated[Literal["residual", "input"], UsedBy("lambda_aux")] = "residual"
    """Target of the auxiliary loss: the residual that the other latents leave, or the input, as in eq. (8)."""
    orthogonality: Annotated[Weight, WeightOf("orthogonality")] = 0.0
    """Weight of OrtSAE's penalty on decoder columns of similar directions."""
    orthogonality_chunk: Annotated[Latents, UsedBy("orthogonality")] = 1024
    """Number of latents in a chunk. Only latents of one chunk are compared; every step draws new chunks."""
    contrast: Annotated[Weight, WeightOf("contrast")] = 0.0
    """Weight of T-SAE's contrast: neighbouring tokens get similar latents, in the first prefix or, without prefixes,
    in all latents. Training then reads pairs of neighbours: from a store of sdl.extract, a stream, or your batches."""
    contrast_similarity: Annotated[Literal["cosine", "product"], UsedBy("contrast")] = "cosine"
    """How contrast compares latents: by their cosine, or by their inner product, as in the authors' code."""
    lambda_anchor: Annotated[Weight, WeightOf("anchor")] = 0.0
    """Weight of feature anchoring (eq. 24); 0.1 if anchors are given without a weight."""
    anchor_form: AnchorForm = "frobenius"
    """frobenius: squared distance from rows to unit anchors (eq. 25); matched: to anchors of the row's own norm;
    cosine: 1 - cosine."""
    anchor_until: Annotated[float, Gt(0), Le(1), AsGiven] | None = None
    """Share of the steps after which anchors are released; None for never."""
    anchor_fall: Share = 0.0
    """Share of the steps over which the weight of anchors falls linearly to zero. The fall ends at anchor_until, or
    with the training."""
    anchor_cosine: Annotated[Annotated[float, Gt(0), Lt(1), AsGiven] | None, WeightOf("anchor")] = None
    """Choose lambda_anchor by trial trainings: the smallest weight of a grid that brings anchored decoder columns to
    this cosine with their anchors (`sdlcore.training.train_dictionary`); None takes lambda_anchor as given."""
    penalty_warmup: Annotated[Share, UsedBy("penalties")] = 0.0
    """Share of the steps over which l1, l0 and other penalties rise linearly from zero."""
    target_l0: Positive | None = None
    """Active latents of a sample to reach: training adjusts l1 and l0, which are then starting values; None keeps them
    fixed. With l0_form quadratic, the target in the penalty, whose weight stays fixed."""
    l0_gain: Annotated[Positive, UsedBy("target_l0")] = 0.02
    """Change of the logarithm of these weights in a step, if L0 is off by a factor of e."""

    @property
    def anchors(self) -> bool:
        """Whether latents are anchored."""
        return bool(self.lambda_anchor or self.anchor_cosine)

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms by name: built-in terms, each a module in `sdlcore.model.losses`, then plugins' terms."""
        ours = (term for name, term in TERMS.items() if getattr(self, name))
        return tuple(dict.fromkeys([*ours, *self.own_terms]))

    @property
    def penalised(self) -> bool:
        """Whether a penalty keeps latents sparse: l1, l0, or a plugin's term that declares ``rises``."""
        return bool(self.l1 or self.l0 or self.own_penalties)

    @property
    def penalties(self) -> tuple[str, ...]:
        """Settings with the weights of penalties: l1, l0, frequency, and plugins' terms that declare ``rises``."""
        return (*(name for name in ("l1", "l0", "frequency") if getattr(self, name)), *self.own_penalties)

    @property
    def own_penalties(self) -> tuple[str, ...]:
        """Loss terms of plugins that declare ``rises``."""
        terms = ((name, registered("loss term", name)) for name in self.own_terms)
        return tuple(name for name, term in terms if term is not None and term.facts["rises"])

    @property
    def own_terms(self) -> tuple[str, ...]:
        """Loss terms of plugins. A weight with the name of a term adds the term."""
        settings = self.settings_of_plugin
        return tuple(name for name in (extensions("loss term") if settings else {}) if settings.get(name))

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.own_terms

    def check_together(self) -> None:
        super().check_together()
        for name in ("multi_k", "prefixes"):
            sizes = getattr(self, name)
            if list(sizes) != sorted(set(sizes)):
                raise ValueError(f"{name} must ascend, found {list(sizes)}")
        if self.prefix_detached and not self.prefixes:
            raise ValueError("prefix_detached needs prefixes, whose sums it detaches")
        if sum(map(bool, (self.hierarchical, self.multi_k, self.prefixes))) > 1:
            raise ValueError("hierarchical, multi_k and prefixes are three multi-scale losses; set only one")
        if self.target_l0 is not None and not self.penalised:
            raise ValueError("target_l0 needs l1, l0 or a plugin's penalty (rises=True), whose weight it adjusts")
        if self.l1_exponent_end is not None:
            if not self.l1:
                raise ValueError("l1_exponent_end needs l1, whose exponent it anneals")
            if others := [*(name for name in ("l0", "frequency") if getattr(self, name)), *self.own_penalties]:
                raise ValueError(
                    f"l1_exponent_end adjusts the weights of all penalties to keep l1 as large; leave {others[0]} out"
                )
        if self.l0_form != "step" and not self.l0:
            raise ValueError(f"l0_form {self.l0_form} needs l0, the weight of that penalty")
        if self.l0_form == "quadratic" and self.target_l0 is None:
            raise ValueError("l0_form quadratic needs target_l0, which L0 is drawn to")
        if self.lambda_anchor and self.anchor_cosine:
            raise ValueError("anchor_cosine chooses lambda_anchor; set one of them")
        without = {} if self.anchors else self.given()
        for name in ("anchor_form", "anchor_until", "anchor_fall"):
            if name in without:
                raise ValueError(f"{name} needs lambda_anchor or anchor_cosine")


TERMS = {name: mark.term for name, field in LossConfig.model_fields.items() if (mark := marked(field, WeightOf))}
"""Settings that add a loss term, each with the name of its term."""


class TrainingConfig(Settings):
    """How the loss is minimised: Adam over shuffled batches."""

    steps: Total = 1000
    """Optimiser steps."""
    batch_size: Batch = 1024
    """Samples per step."""
    lr: Positive = 1e-3
    """Adam's peak learning rate."""
    lr_warmup: Share = 0.05
    """Share of the steps over which the learning rate rises linearly."""
    lr_decay: Share = 0.2
    """Share of the steps, at the end, over which the learning rate falls to zero."""
    lr_decay_shape: Literal["linear", "cosine"] = "linear"
    """Shape of this fall: linear, or half a period of a cosine (Loshchilov and Hutter 2017)."""
    k_start: Latents | None = None
    """Active latents of a sample at the start; their number then changes linearly to k. None for k throughout."""
    k_decay: Annotated[Share, UsedBy("k_start")] = 0.5
    """Share of the steps over which the number of active latents changes from k_start to k."""
    accumulate: Batch = 1
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
    resample_until: Annotated[Share, UsedBy("resample_every")] = 0.5
    """Share of the steps after which no resampling happens."""
    reorder_every: Total | None = None
    """Steps between sortings of the latents by how often they fired since the last one, so that prefixes contain the
    most frequent; None for never."""
    log_every: Total = 20
    """Steps between rows of history.csv."""
    checkpoint_every: Total = 100
    """Steps between checkpoints, rounded up to a row of the history."""

    def check_together(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate = {self.accumulate} must divide batch_size = {self.batch_size}")
        if self.lr_decay_shape != "linear" and not self.lr_decay:
            raise ValueError(f"lr_decay_shape is {self.lr_decay_shape}, but lr_decay is 0; set the share that falls")


PARTS: dict[str, type[Settings]] = {"model": ModelConfig, "loss": LossConfig, "training": TrainingConfig}
"""The parts of a training's settings."""
PART_OF = {name: part for part in PARTS.values() for name in part.model_fields if name != "pursuit"}
"""Each setting of a training, and the class that declares it."""
MAIN = (
    *("activation", "n_q", "k", "l1", "l0", "lambda_aux"),
    *("lambda_anchor", "normalise", "bias", "steps", "batch_size", "lr"),
)
"""The settings that matter most, which help shows first."""


class RunConfig(Settings):
    """All settings of a training."""

    called: ClassVar[str] = "run settings"

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    def check_together(self) -> None:
        model, loss = self.model, self.loss
        for name in ("multi_k", "hierarchical"):
            if getattr(loss, name) and not model.selects:
                raise ValueError(f"{name} needs an activation with k, such as topk, found {model.activation}")
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
        anchoring = "anchor_cosine" if loss.anchor_cosine else "lambda_anchor"
        if loss.anchors and model.frozen != "none":
            raise ValueError(f"{anchoring} moves both weights, but frozen is {model.frozen}")
        if self.training.resample_every and model.frozen != "none":
            raise ValueError(f"resample_every redraws rows of both weights, but frozen is {model.frozen}")
        if model.archetypes is not None:
            needing = {
                anchoring: loss.anchors,
                "resample_every": self.training.resample_every,
                "l1 with l1_scale decoder": loss.l1 and loss.l1_scale == "decoder",
                "l0_form tanh": loss.l0 and loss.l0_form == "tanh",
                "orthogonality": loss.orthogonality,
                "hierarchical": loss.hierarchical,
                f"activation {model.activation}": model.activation in ("gated", "lista") or model.by_plugin,
                **dict.fromkeys(loss.own_terms, True),
            }
            if which := next((name for name, is_set in needing.items() if is_set), None):
                raise ValueError(
                    f"archetypes compute the decoder's rows only after the training; leave out {which}, which reads or "
                    "moves them in each step"
                )
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
        batch_size, accumulate = self.training.batch_size, self.training.accumulate
        if loss.contrast and (batch_size // accumulate % 2 or batch_size // accumulate < 4):
            part = f"batch_size {batch_size}" + (f" / accumulate {accumulate}" if accumulate > 1 else "")
            raise ValueError(f"contrast compares two or more pairs: {part} must be even and at least 4")
        if model.pursuit:
            raise ValueError("pursuit is no setting of a training: no gradient passes through it")
        if model.activation in get_args(Searched):
            raise ValueError(
                f"activation {model.activation} searches on rows that are known; train with another, such as topk, and "
                "call sdl.search"
            )
        if self.training.whiten and self.model.skip:
            raise ValueError("skip needs activations that are not whitened; leave out whiten or skip")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Json]) -> Self:
        """Build from flat settings. Missing settings take their defaults.

        Raises
        ------
        ValueError
            For an unknown key, a value that does not fit, or settings that do not go together.
        """
        model, loss, training = (set(part.model_fields) for part in (ModelConfig, LossConfig, TrainingConfig))
        if settings.keys() - model - loss - training:  # most runs use no plugins, and need not import any
            model |= own_settings("activation").keys()
            loss |= own_settings("loss term").keys()
        names = model | loss | training
        if unknown := sorted(settings.keys() - names):
            meant = hints(unknown, sorted((names | {"seed"}) - set(unknown)))
            raise ValueError(printable(f"unknown {cls.called}: {', '.join(unknown)}{meant}"))
        chosen = ModelConfig.from_dict({name: value for name, value in settings.items() if name in model})
        if not chosen.selects or chosen.frozen != "none" or chosen.archetypes is not None:
            # resampled rows start without the thresholds of JumpReLU, and frozen rows or archetypes cannot be redrawn
            settings = {"resample_every": None, **settings}
        return cls(
            model=chosen,
            loss=LossConfig.from_dict({name: value for name, value in settings.items() if name in loss}),
            training=TrainingConfig.from_dict({name: value for name, value in settings.items() if name in training}),
        )

    def to_dict(self) -> dict[str, Json]:
        """Return the flat settings, as `from_dict` takes them and JSON can hold them."""
        return flat(self.model.to_dict(), self.loss.to_dict(), self.training.to_dict())

    def given(self) -> dict[str, Json]:
        """Return the flat settings that differ from the defaults, and resample_every, whose default others decide."""
        resampled: dict[str, Json] = {"resample_every": self.training.resample_every}
        return flat(self.model.given(), self.loss.given(), self.training.given(), resampled)

    def without_effect(self, settings: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each setting that a user wrote, other than its default, and that this run ignores."""
        sentences = []
        for part in (self.model, self.loss, self.training):
            for name, field in type(part).model_fields.items():
                mark = marked(field, UsedBy)
                is_set = name in settings and getattr(part, name) != field.default
                if mark is not None and is_set and not mark.holds(part):
                    sentences.append(f"{name} has no effect without {mark.setting} {' or '.join(mark.values)}".strip())
        model, loss, training = self.model, self.loss, self.training
        last = math.floor(training.resample_until * training.steps)
        late = training.resample_every is not None and training.resample_every > last
        later = training.reorder_every is not None and training.reorder_every > training.steps
        jumprelu = model.activation == "jumprelu"
        replaced = (
            jumprelu and model.init_l0 is not None and model.init_threshold != default_of(ModelConfig, "init_threshold")
        )
        fixed = loss.l0_form == "quadratic" and loss.l0_gain != default_of(LossConfig, "l0_gain")
        exact = model.activation == "matching_pursuit" and training.precision != "float32"
        others = {
            "resample_every": (late, f"is {training.resample_every}, but no latent is resampled after step {last}"),
            "reorder_every": (later, f"is {training.reorder_every}, but training ends after step {training.steps}"),
            "init_threshold": (replaced, "has no effect with init_l0, which sets the thresholds"),
            "l0_gain": (fixed, "has no effect with l0_form quadratic, whose weight is fixed"),
            "precision": (exact, "has no effect on activation matching_pursuit, which searches in float32"),
            "weight_decay": (
                bool(training.weight_decay) and not self._decays,
                "has no effect, since every matrix is frozen or has unit rows",
            ),
        }
        sentences += [f"{name} {why}" for name, (holds, why) in others.items() if holds and name in settings]
        return [*sentences, *self._unused_of_plugins(settings)]

    def _unused_of_plugins(self, settings: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence for each written setting of a plugin that the run does not use."""
        core_settings = self.to_dict()
        plugin_settings = own_settings("activation", "loss term") if settings.keys() - core_settings.keys() else {}
        for name in (name for name in settings if name in plugin_settings and name not in core_settings):
            users = plugin_settings[name]
            value = tuple(settings[name]) if isinstance(settings[name], list) else settings[name]
            if value in [one.settings.model_fields[name].default for one in users]:
                continue
            if any(one.kind == "activation" for one in users):
                yield f"{name} has no effect on activation {self.model.activation}"
            else:
                yield f"{name} has no effect without {' or '.join(one.name for one in users)}"

    @property
    def _decays(self) -> bool:
        """Whether a matrix of the model is trained without unit rows, and so can decay."""
        model = self.model
        if model.skip or model.archetypes is not None or model.by_plugin:
            return True
        unit = model.decoder_norm == "unit"
        encoder = model.frozen not in ("encoder", "both") and not (model.tied and unit)
        return encoder or (model.frozen not in ("decoder", "both") and not unit)

    @property
    def plugins(self) -> dict[str, str]:
        """Digests of the files of the plugins that the run uses, by name of activation or loss term."""
        return {**self.model.plugins, **self.loss.plugins}


def is_centred(settings: Mapping[str, Json]) -> bool:
    """Return whether settings of a training or a solver remove the mean from the activations."""
    return bool(settings.get("normalise") or settings.get("whiten"))


def flat(*parts: dict[str, Json]) -> dict[str, Json]:
    """Merge the settings of a run's parts into one dictionary for JSON."""
    merged = {key: value for part in parts for key, value in part.items()}
    merged.pop("pursuit", None)  # no setting of a training
    return merged


def check_division(config: RunConfig, processes: int, split: Split) -> str | None:
    """Return why processes cannot divide a training's samples or latents (``split``), or None.

    For one process, only the size of batches is checked.
    """
    training, n_q = config.training, config.model.n_q
    if processes > 1 and split == "latents" and training.reorder_every:
        return "reorder_every sorts all latents, but processes divide them; divide samples instead"
    if processes > 1 and split == "samples" and config.loss.contrast:
        return "contrast compares all samples of a batch, but processes divide them; divide latents instead"
    if split == "latents" and n_q % processes:
        return f"n_q = {n_q} must be a multiple of {processes} processes that divide latents"
    if split == "samples" and training.batch_size % (training.accumulate * processes):
        parts = f"{processes} processes" + (f" x accumulate = {training.accumulate}" if training.accumulate > 1 else "")
        return f"batch_size = {training.batch_size} must be a multiple of {parts} that divide samples"
    return None
