"""`sdl.SparseCoder`: the model that `fit` trains, for a training loop of your own."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self, Unpack, cast, get_args

import torch
from torch import Tensor

from sdlcore.api.inputs import floats
from sdlcore.api.setting_types import CoderSettings
from sdlcore.api.streams import arrays_of, columns_of, refuse_more
from sdlcore.data.pairs import pair_sites
from sdlcore.losses.total import needs_norms, scales_of, total_loss
from sdlcore.model import coder as model_coder
from sdlcore.model.encoding import Auxiliary
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.random_streams import torch_stream
from sdlcore.run import LossConfig, RunConfig, Searched, TrainingConfig
from sdlcore.settings import Json, Latents, Seed, Total, checked
from sdlcore.training.normalisation import Normalisation, fit_normalisation, no_scaling
from sdlcore.training.resampling import DeadLatents

OUTSIDE = "trained outside sdl.fit"
_OF_THE_LOOP = {
    "init_l0": "starts thresholds from a batch",
    "target_l0": "changes weights from step to step",
    "penalty_warmup": "changes weights from step to step",
    "l1_exponent_end": "changes an exponent from step to step",
    "lambda_anchor": "needs anchors",
    "anchor_cosine": "needs anchors",
    "archetypes": "needs centroids of the activations",
}
"""Setting that `fit` handles outside of the loss -> its effect, for errors."""
_OF_ANCHORS_AND_SCHEDULES = {
    *("lambda_anchor", "anchor_cosine", "anchor_form", "anchor_until", "anchor_fall"),
    *("penalty_warmup", "l1_exponent_end", "l1_anneal_start", "target_l0", "l0_gain"),
}
"""Settings of a loss that a dictionary's own loss leaves out."""


def settings_of_training(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the training that made a dictionary; none for a solver or another library's trainer."""
    settings = provenance.get("settings")
    return settings if isinstance(settings, dict) and not settings.keys() & {"solver", "peer"} else {}


class SparseCoder(model_coder.SparseCoder):
    """The model that `fit` trains, as a `torch.nn.Module` for your own training loop.

    `loss` returns the loss of a batch. The ``backward`` of this loss fills dense ``.grad`` tensors with sparse kernels:
    gradient rows of inactive latents are zero and cost no computation. Any torch optimiser can use these gradients.
    After each step, `constrain` normalises decoder rows if ``decoder_norm`` is unit. `Dictionary` wraps the trained
    model. `Dictionary.coder` is such a model, too; its `loss` has the settings of the dictionary's training, without
    anchors and schedules.

    With ``normalise``, `loss` centres and scales raw activations as `fit` does. The model itself then reads and writes
    normalised activations; `Dictionary` folds the scaling into a copy of the weights, which reads raw activations.

    Parameters
    ----------
    n_p
        Dimension of the input (d_in).
    n_r
        Dimension of the target (d_out) of a transcoder; of a crosscoder, the dimensions of the sites after the first;
        None for an autoencoder.
    seed
        Seed of the initial weights, which are the same as in `fit`.
    dead_after
        Number of samples after which a latent that did not fire counts as dead for ``lambda_aux``.
    normalise
        Centre and scale the batches given to `loss`, by the mean and the scale of the first one, which should therefore
        be large. False by default, unlike in `fit`.
    **settings
        Settings of the model and the loss, as in `fit`: ``n_q`` (d_sae), ``activation``, ``k``, ``l1``, ``lambda_aux``,
        ...

    Raises
    ------
    ValueError
        For an invalid setting, or a setting that only `fit` supports, such as ``lr`` or ``lambda_anchor``.
    """

    silent: Tensor
    row_norms: Tensor | None
    seed: int | None
    normalise = False

    def __init__(
        self,
        n_p: int,
        n_r: int | Sequence[int] | None = None,
        *,
        seed: int = 0,
        dead_after: int = TrainingConfig().dead_after,
        normalise: bool = False,
        **settings: Unpack[CoderSettings],
    ) -> None:
        if others := sorted(settings.keys() & TrainingConfig().to_dict().keys()):
            raise ValueError(
                f"{', '.join(others)}: your own training loop replaces these settings of sdl.fit; leave them out"
            )
        pair = "sae" if n_r is None else "transcoder"
        config = RunConfig.from_dict(cast(dict[str, Json], {"pair": pair, **settings}))
        for name, work in _OF_THE_LOOP.items():
            if config.to_dict()[name]:
                raise ValueError(f"{name} {work}, which sdl.fit does outside of the loss; leave {name} out")
        if config.model.initialisation == "samples":
            raise ValueError(
                "initialisation samples needs activations, which only sdl.fit reads; choose linear or tied"
            )
        further = () if n_r is None else tuple(n_r) if isinstance(n_r, Sequence) else (n_r,)
        widths = [checked("n_p", Latents, n_p), *(checked("n_r", Latents, width) for width in further)]
        sites = pair_sites(config.model.pair, *widths)
        self.seed = checked("seed", Seed, seed)
        super().__init__(config.model, *sites, torch_stream(self.seed, "initialisation"))
        self._prepare_loss(config.loss, checked("dead_after", Total, dead_after))
        self.normalise = checked("normalise", bool, normalise)
        if self.normalise:  # part of the state dict, so that a loop can resume; zero before the first batch
            for name, value in no_scaling(*map(sum, sites))._asdict().items():
                self.register_buffer(name, torch.zeros_like(value))

    def _prepare_loss(self, config: LossConfig, dead_after: int) -> None:
        self.loss_config, self.dead_after = config, dead_after
        # not part of the state dict, since a saved dictionary does not need it
        silent = DeadLatents(self.config.n_q, dead_after, self.W_enc.device).silent
        self.register_buffer("silent", silent, persistent=False)
        self.register_buffer("row_norms", None, persistent=False)

    @classmethod
    def of(cls, coder: model_coder.SparseCoder, provenance: Mapping[str, Any]) -> Self:
        """Return the model of a dictionary with a `loss`: the same parameters, and the settings in its provenance.

        With ``normalise``, it has parameters of its own, for raw activations.
        """
        if isinstance(coder, cls):
            return coder._folded() if coder.normalise else coder
        trainable = cls.__new__(cls)
        with torch.device("meta"):  # the parameters are replaced
            model_coder.SparseCoder.__init__(trainable, coder.config, coder.input_sites, coder.target_sites)
        for name, parameter in coder.named_parameters(recurse=False, remove_duplicate=False):
            setattr(trainable, name, parameter)
        trainable.sigma, trainable.archetypes, trainable.processes = coder.sigma, coder.archetypes, coder.processes
        settings = settings_of_training(provenance)
        trainable.seed = provenance.get("seed")
        trainable._prepare_loss(_loss_of(settings), settings.get("dead_after", TrainingConfig().dead_after))
        trainable._keep_row_norms()
        return trainable.train(coder.training)

    def loss(self, batch: Any, target: Any = None) -> Tensor:
        """Return the loss of a batch as a scalar tensor with its graph.

        Parameters
        ----------
        batch
            B x n_p activations: a tensor or an array, on any device; or a pair (x, target) from a data loader. For a
            crosscoder, the sites concatenated, or a list with one for each. With ``contrast``, B x 2 x n_p: each token
            and its neighbour.
        target
            B x n_r target activations of a transcoder, unless they are in ``batch``.

        Raises
        ------
        ValueError
            If the dimensions differ from the model's, or no gradient passes through the model's encoder.
        """
        searched = self.config.activation in get_args(Searched)
        if searched or self.config.pursuit:
            name = self.config.activation if searched else "pursuit"
            raise ValueError(f"no gradient passes through this encoder ({name}), so that it has no loss")
        if target is None:
            batch, *rest = columns_of(batch, "batch")
            refuse_more(1 + len(rest), self.config.pair, "batch")
        else:
            rest = [target]
        x_BP, further = self._tensor(batch, "batch"), [self._tensor(part, "target") for part in rest]
        pair, x_BR = self.config.pair, x_BP
        if pair == "transcoder" and further:
            x_BR = further[0]
        elif pair == "crosscoder" and further:
            x_BP = x_BR = torch.cat([x_BP, *further], dim=1)
        widths = self.W_enc.shape[1], self.W_dec.shape[1]
        if (x_BP.shape[-1], x_BR.shape[-1]) != widths or len(x_BP) != len(x_BR):
            shapes = " and ".join(" x ".join(map(str, one.shape)) for one in (x_BP, x_BR))
            raise ValueError(f"pair {pair} needs B x {widths[0]} inputs and B x {widths[1]} targets, found {shapes}")
        if self.normalise:
            if not self._scaling().scale_p.any():
                self._fit_scaling(x_BP, x_BR)
            x_BP, x_BR = self._scaling()(x_BP, x_BR)
        config = self.loss_config
        dead = DeadLatents(self.config.n_q, self.dead_after, self.silent.device)
        dead.silent = self.silent
        auxiliary = Auxiliary(dead.mask().nonzero().squeeze(1), config.k_aux) if config.lambda_aux else None
        out = self(x_BP, scales_of(config, self), auxiliary, norms=needs_norms(config))
        if self.training:
            fired_Q = torch.zeros_like(self.silent, dtype=torch.bool)
            fired_Q[out.support.columns[out.fires()].long()] = True
            dead.update(fired_Q, len(x_BP))
            self.silent = dead.silent
        return total_loss(self, x_BR, out, config)["loss"]

    def _scaling(self) -> Normalisation:
        return Normalisation(*(self.get_buffer(name) for name in Normalisation._fields))

    def _fit_scaling(self, x_BP: Tensor, x_BR: Tensor) -> None:
        """Measure mean and scale of the first batch."""
        sites = [*x_BP.split(self.input_sites, 1), *([x_BR] if self.config.pair == "transcoder" else [])]
        samples = arrays_of([site.detach().float().cpu().numpy() for site in sites])
        for buffer, value in zip(self._scaling(), fit_normalisation(samples, self.config.pair), strict=True):
            buffer.copy_(value)

    def _folded(self) -> Self:
        """Return a copy for raw activations."""
        raw = copy.deepcopy(self)
        if raw._scaling().scale_p.any():
            raw._scaling().fold(raw)
        raw.normalise = False
        for name in Normalisation._fields:
            delattr(raw, name)
        raw._keep_row_norms()
        return raw

    def _keep_row_norms(self) -> None:
        """Note the norms of unit decoder rows, which folding a scaling has changed."""
        if self.config.decoder_norm == "unit":
            self.row_norms = self.W_dec.detach().norm(dim=1, keepdim=True)

    @property
    def decoder_is_unit(self) -> bool:
        return super().decoder_is_unit and getattr(self, "row_norms", None) is None

    @torch.no_grad()
    def constrain(self) -> None:
        """Enforce constraints: unit decoder rows (if configured), non-negative thresholds.

        The unit rows of a dictionary keep the norms that they have for raw activations.
        """
        super().constrain()
        norms_Q1 = getattr(self, "row_norms", None)
        if norms_Q1 is not None:
            self.W_dec.mul_(norms_Q1)

    def _tensor(self, values: Any, name: str) -> Tensor:
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(floats(values, name))
        if self.loss_config.contrast:
            if tensor.ndim != 3 or tensor.shape[1] != 2:
                expected = "expected pairs of neighbours x 2 x dimensions, which contrast compares"
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, {expected}")
            tensor = tensor.flatten(0, 1)
        if tensor.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected samples x dimensions")
        return tensor.to(self.W_enc)


def _loss_of(settings: Mapping[str, Any]) -> LossConfig:
    """Return the loss among the settings of a training, without anchors and schedules."""
    names = {*LossConfig.model_fields, *own_settings("loss term")} - _OF_ANCHORS_AND_SCHEDULES
    if settings.get("l0_form") == "quadratic":  # whose penalty contains the target
        names.add("target_l0")
    return LossConfig.from_dict({name: value for name, value in settings.items() if name in names})


def made_outside(coder: model_coder.SparseCoder) -> dict[str, Json]:
    """Return the provenance of a coder that was trained outside `fit`: its settings, and seed if known."""
    provenance: dict[str, Json] = {"training": OUTSIDE, "settings": coder.config.to_dict()}
    if isinstance(coder, SparseCoder):
        settings = coder.config.to_dict() | coder.loss_config.to_dict()
        provenance |= {"settings": {**settings, "dead_after": coder.dead_after, "normalise": coder.normalise}}
        provenance |= {} if coder.seed is None else {"seed": coder.seed}
    return provenance
