"""The sparse coder: autoencoder, transcoder and crosscoder as one model.

Numbers of equations, sections and definitions refer to arXiv 2512.05534, whose letters name dimensions here: x_p is the
input (n_p, ``d_in`` elsewhere), x_q the latents (n_q, ``d_sae``), x_r the target (n_r, ``d_out``). A suffix such as _BP
gives the dimensions of a tensor, with B samples, N entries of the latents and K entries of a sample.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, get_args

import scipy.sparse
import torch
from torch import Tensor, nn

from sdlcore.config import Config, LossConfig, ModelConfig, Searched
from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.activations.registry import make_sigma
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.encoding import WHOLE, Auxiliary, Encoding, Scales
from sdlcore.model.forward import Forward
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import needs_norms, scales_of, total_loss
from sdlcore.model.scaling import Scaling, mean_and_scale, no_scaling
from sdlcore.plugins.registry import extensions
from sdlcore.processes import ALONE, Processes
from sdlcore.random_streams import torch_stream
from sdlcore.settings import LatentCount, Seed, Total, checked, default_of
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.preactivations import check_type
from sdlcore.sparse.products import decode_at
from sdlcore.sparse.support import full_support

FEW = 16
"""Most samples that `SparseCoder.encode` codes by the activation's definition, since a search starts slowly."""
_SCALING = Scaling._fields[:5]
"""Buffers of a model with ``normalise``: the scaling without whitening."""
_ONLY_FIT = (
    "init_l0",
    "target_l0",
    "penalty_warmup",
    "l1_exponent_end",
    "lambda_anchor",
    "anchor_cosine",
    "archetypes",
)
"""Settings of the model and the loss that only `fit` supports, since they need batches, anchors or a schedule."""
_OF_ANCHORS_AND_SCHEDULES = {
    *("lambda_anchor", "anchor_cosine", "anchor_form", "anchor_until", "anchor_fall"),
    *("penalty_warmup", "l1_exponent_end", "l1_anneal_start", "target_l0", "l0_gain"),
}
"""Settings of a training's loss that `SparseCoder.loss` leaves out."""


class SparseCoder(nn.Module):
    """One sparse dictionary model, with its loss.

        latents = sigma(W_E x_p + b_E)
        x_r_hat = W_D latents + b_D

    With x_r = x_p the model is a sparse autoencoder, with another x_r a transcoder; a crosscoder reads and writes the
    concatenation of several sites. A transcoder may add a linear path, W_skip x_p, to the reconstruction (Paulo et al.
    2025). Latent i has row i of `W_enc` (the paper's W_E[i, :]) and row i of `W_dec` (the paper's column W_D[:, i]);
    `W_dec` is stored by rows because a sparse code reads whole directions.

    In a training loop of your own, `loss` returns the loss of a batch. The ``backward`` of this loss fills dense
    ``.grad`` tensors with sparse kernels: gradient rows of inactive latents are zero and cost no computation. Any torch
    optimiser can use these gradients. After each step, `constrain` normalises decoder rows if ``decoder_norm`` is unit.
    `Dictionary` wraps the trained model. `Dictionary.coder` is such a model, too; its `loss` has the settings of the
    dictionary's training, without anchors and schedules.

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

    Attributes
    ----------
    W_enc, W_dec
        n_q x n_p, n_q x n_r. With ``tied``, `W_enc` and `W_dec` are one parameter during training. Afterwards `untie`
        splits it in two, because folding the normalisation of activations changes encoder and decoder differently.
    archetypes
        Parameters that training changes instead of `W_dec`, with ``archetypes``; otherwise, and after `untie`, None.
    processes
        The processes that train the model together, each on a part of every batch.

    Raises
    ------
    ValueError
        For an invalid setting, or a setting that only `fit` supports, such as ``lr`` or ``lambda_anchor``.
    """

    silent: Tensor
    raw_norms: Tensor | None
    processes: Processes = ALONE
    seed: int | None = None
    normalise = False

    def __init__(
        self,
        n_p: int,
        n_r: int | Sequence[int] | None = None,
        *,
        seed: int = 0,
        dead_after: int = default_of(Config, "dead_after"),
        normalise: bool = False,
        **settings: Any,
    ) -> None:
        config = Config.from_dict({"pair": "sae" if n_r is None else "transcoder", **settings})
        of_training = Config.model_fields.keys() - ModelConfig.model_fields.keys() - LossConfig.model_fields.keys()
        others = [name for name, value in settings.items() if name in of_training or (value and name in _ONLY_FIT)]
        if others or config.initialisation == "samples":
            names = ", ".join(others) or "initialisation samples"
            raise ValueError(f"{names}: only sdl.fit has these settings, which your own loop replaces; leave them out")
        further = () if n_r is None else tuple(n_r) if isinstance(n_r, Sequence) else (n_r,)
        sites = (checked("n_p", LatentCount, n_p), *(checked("n_r", LatentCount, width) for width in further))
        pair = config.pair
        if len(sites) < 2 if pair == "crosscoder" else len(sites) != (1 if pair == "sae" else 2):
            raise ValueError(f"pair {pair} does not fit n_p = {n_p} and n_r = {n_r}; n_r is the target's dimension")
        input_sites, target_sites = (sites[:1], sites[1:]) if pair == "transcoder" else (sites, sites)
        generator = torch_stream(checked("seed", Seed, seed), "initialisation")
        self._build(config.model, input_sites, target_sites, generator)
        self.loss_config, self.dead_after, self.seed = config.loss, checked("dead_after", Total, dead_after), seed
        self.normalise = checked("normalise", bool, normalise)
        if self.normalise:  # part of the state dict, so that a loop can resume; zero before the first batch
            for name, value in zip(_SCALING, no_scaling(sum(input_sites), sum(target_sites))[:5], strict=True):
                self.register_buffer(name, torch.zeros_like(value))

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        input_sites: tuple[int, ...],
        target_sites: tuple[int, ...],
        generator: torch.Generator | None = None,
    ) -> Self:
        """Return a model of an architecture.

        Parameters
        ----------
        config
            The architecture.
        input_sites, target_sites
            Widths of the sites that make up x_p and x_r; their sums are n_p and n_r.
        generator
            Random generator for the initial weights; None for zeros, to be loaded later.
        """
        model = cls.__new__(cls)
        model._build(config, input_sites, target_sites, generator)
        return model

    def _build(
        self,
        config: ModelConfig,
        input_sites: tuple[int, ...],
        target_sites: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.loss_config, self.dead_after = LossConfig(), default_of(Config, "dead_after")
        self.input_sites = tuple(input_sites)
        self.target_sites = tuple(target_sites)
        n_p, n_q, n_r = sum(input_sites), config.n_q, sum(target_sites)
        self.W_enc = nn.Parameter(torch.zeros(n_q, n_p, dtype=torch.float32))
        self.b_enc = nn.Parameter(torch.zeros(n_q, dtype=torch.float32), requires_grad=config.bias)
        self.W_dec = nn.Parameter(torch.zeros(n_q, n_r, dtype=torch.float32))
        self.b_dec = nn.Parameter(torch.zeros(n_r, dtype=torch.float32), requires_grad=config.bias)
        if config.skip:
            self.W_skip = nn.Parameter(torch.zeros(n_p, n_r, dtype=torch.float32))
        self.sigma: Activation = make_sigma(config)
        self.archetypes: Archetypes | None = None
        # not part of the state dict, since a saved dictionary does not need them
        self.register_buffer("silent", torch.zeros(n_q, dtype=torch.int64), persistent=False)
        self.register_buffer("raw_norms", None, persistent=False)
        if generator is not None:
            self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        self._check_activation_parameters()
        n_q, n_p = self.W_enc.shape
        n_r = self.W_dec.shape[1]
        if self.config.initialisation == "linear":
            self.W_enc.copy_((2 * torch.rand(n_q, n_p, generator=generator, dtype=torch.float32) - 1) / n_p**0.5)
            self.W_dec.copy_((2 * torch.rand(n_q, n_r, generator=generator, dtype=torch.float32) - 1) / n_q**0.5)
        else:
            directions = torch.randn(n_q, max(n_p, n_r), generator=generator, dtype=torch.float32)
            self.W_dec.copy_(nn.functional.normalize(directions[:, :n_r]))
            self.W_enc.copy_(self.config.init_scale * nn.functional.normalize(directions[:, :n_p]))
        if self.config.tied:
            self.W_dec = self.W_enc
        self.W_enc.requires_grad_(self.config.frozen not in ("encoder", "both"))
        self.W_dec.requires_grad_(self.config.frozen not in ("decoder", "both"))
        self.constrain()

    def _check_activation_parameters(self) -> None:
        """Raise ValueError unless each trainable parameter of the activation has one element per latent, all `initial`.

        Resampling sets a dead latent's element to `initial`.
        """
        for name, parameter in self.sigma.named_parameters():
            start = self.sigma.initial(name)
            if parameter.shape[:1] != (self.config.n_q,) or bool((parameter != start).any()):
                raise ValueError(
                    f"activation {self.config.activation}: parameter {name} must have an element for each of "
                    f"{self.config.n_q} latents (n_q), all {float(start):g}, found shape {tuple(parameter.shape)}; "
                    "return another start from initial(name)"
                )

    @property
    def latent_names(self) -> list[str]:
        """Names of the parameters that have one row or element per latent; other parameters are shared."""
        names = (name for name, _ in self.named_parameters())
        return ["W_enc", "b_enc", "W_dec", *(name for name in names if name.startswith(("sigma.", "archetypes.")))]

    def untie(self) -> None:
        """Give the decoder a matrix of its own, if it shares the encoder's matrix or is computed from archetypes."""
        if self.W_dec is self.W_enc or self.archetypes is not None:
            self.W_dec = nn.Parameter(self.W_dec.detach().clone(), requires_grad=self.W_dec.requires_grad)
            self.archetypes = None

    @property
    def decoder_is_unit(self) -> bool:
        """Whether there is one site and every decoder row has norm one."""
        return self.config.decoder_norm == "unit" and len(self.target_sites) == 1 and self.raw_norms is None

    @property
    def weights(self) -> Weights:
        """Encoder and decoder with their biases."""
        return Weights(self.W_enc, self.b_enc, self.W_dec, self.b_dec)

    def encode(self, x_BP: Tensor) -> Tensor:
        """Return the latents (B x n_q) of B samples of x_p (B x n_p)."""
        if self._needs_search(x_BP):
            code = self._encoding(kernels_for(self.W_enc.device))(x_BP)
            return code.support.dense(code.values)
        check_type(self.W_enc)
        latents_BQ: Tensor = self.sigma(torch.addmm(self.b_enc, x_BP, self.W_enc.T))
        return latents_BQ

    def encode_csr(self, x_BP: Tensor) -> scipy.sparse.csr_array:
        """Return the active latents (B x n_q) of B samples of x_p (B x n_p), without gradients."""
        kernels = kernels_for(self.W_enc.device)
        if self._needs_search(x_BP):
            code = self._encoding(kernels)(x_BP)
            return code.support.csr(code.values)
        latents_BQ = self.encode(x_BP)
        return full_support(len(x_BP), len(self.W_enc), kernels, x_BP.device).csr(latents_BQ.flatten())

    def _needs_search(self, x_BP: Tensor) -> bool:
        """Return whether `Encoding` encodes these samples, instead of the activation's definition alone."""
        return isinstance(self.sigma, Encoder) or len(x_BP) > FEW

    def _encoding(self, kernels: Kernels) -> Encoding:
        return Encoding(self.config, self.sigma, self.weights, self.processes, kernels)

    def decode(self, latents_BQ: Tensor) -> Tensor:
        """Return W_D x_q + b_D (B x n_r), without the linear path of a transcoder."""
        return latents_BQ @ self.W_dec + self.b_dec

    def forward(
        self,
        x_BP: Tensor,
        scales: Scales = WHOLE,
        auxiliary: Auxiliary | None = None,
        precision: torch.dtype | None = None,
        norms: bool = False,
        kernels: Kernels | None = None,
    ) -> Forward:
        """Encode and reconstruct B samples of x_p (B x n_p).

        Parameters
        ----------
        x_BP
            The samples.
        scales
            Parts of each code, for the multi-scale loss: each part gets a reconstruction of its own.
        auxiliary
            Dead latents, for the auxiliary loss: they get a reconstruction of their own.
        precision
            Type of the search's dense product; None for the type of the weights. In a lower type the search proposes
            more latents than needed. Their pre-activations are then computed from the weights, and the search chooses
            among them.
        norms
            Also return the norms of decoder rows, unless `decoder_is_unit`.
        kernels
            The kernels of a training, which keep large buffers between passes, and record the norms of the rows of
            gradients for clipping; None for new ones (`kernels_for`).
        """
        kernels = kernels or kernels_for(self.W_enc.device)
        # encoder and activation: the latents, at the entries where they may be nonzero
        code = self._encoding(kernels)(x_BP, scales, auxiliary, precision)
        # decoder: W_D latents, for each scale and for auxiliary latents
        norms_Q = None
        if self.archetypes is None:
            sites = self.target_sites if norms and not self.decoder_is_unit else ()
            decoded_BSR, norms_Q = decode_at(
                code.decoded, code.support, self.W_dec, sites, scales.number, scales.detached
            )
        else:
            decoded_BSR = self.archetypes.decode_at(code.decoded, code.support, scales.number, scales.detached)
        aux_BR = None
        if code.has_auxiliary:
            decoded_BSR, aux_BR = decoded_BSR.split([scales.number, 1], dim=1)
            aux_BR = aux_BR.squeeze(1)
        linear_BR = x_BP @ self.W_skip if self.config.skip else None
        scale_BSR = decoded_BSR + (self.b_dec if linear_BR is None else self.b_dec + linear_BR[:, None])
        # squeeze where possible, because the gradient of an index is a copy
        x_hat = scale_BSR.squeeze(1) if scales.number == 1 else scale_BSR[:, -1]
        return Forward(code.support, code.pre, code.values, x_hat, scale_BSR, aux_BR, norms_Q, linear_BR)

    @torch.no_grad()
    def constrain(self) -> None:
        """Enforce constraints: unit decoder rows or archetypes (if configured), non-negative thresholds.

        The unit rows of a dictionary keep the norms that they have for raw activations.
        """
        if self.config.decoder_norm == "unit":
            kernels_for(self.W_dec.device).normalise_rows(self.W_dec.detach())
            if self.raw_norms is not None:
                self.W_dec.mul_(self.raw_norms)
        if self.archetypes is not None:
            self.archetypes.constrain()
            self.write_rows()
        self.sigma.constrain()

    @torch.no_grad()
    def write_rows(self) -> None:
        """Compute `W_dec` from archetypes, if there are any. Training steps leave `W_dec` out of date."""
        if self.archetypes is not None:
            self.W_dec.copy_(self.archetypes())

    def loss(self, x: Any, target: Any = None) -> Tensor:
        """Return the loss of a batch as a scalar tensor with its graph.

        Parameters
        ----------
        x
            B x n_p activations: a tensor or an array, on any device. For a crosscoder, the sites concatenated, or the
            first site. With ``contrast``, B x 2 x n_p: each token and its neighbour.
        target
            B x n_r target activations of a transcoder; the other sites of a crosscoder, unless ``x`` has all.

        Raises
        ------
        ValueError
            If the dimensions differ from the model's, or no gradient passes through the model's encoder.
        """
        if self.config.activation in get_args(Searched):
            raise ValueError("no gradient passes through this encoder, so that it has no loss")
        x_BP = x_BR = self._samples(x, "x")
        if target is not None:
            x_BR = self._samples(target, "target")
            if self.config.pair != "transcoder":
                x_BP = x_BR = torch.cat([x_BP, x_BR], dim=1)
        widths = self.W_enc.shape[1], self.W_dec.shape[1]
        if (x_BP.shape[-1], x_BR.shape[-1]) != widths or len(x_BP) != len(x_BR):
            shapes = " and ".join(" x ".join(map(str, part.shape)) for part in (x_BP, x_BR))
            raise ValueError(
                f"pair {self.config.pair} needs B x {widths[0]} inputs and B x {widths[1]} targets, found {shapes}"
            )
        if self.normalise:
            if not self._scaling().scale_p.any():
                self._fit_scaling(x_BP, x_BR)
            x_BP, x_BR = self._scaling()(x_BP, x_BR)
        config = self.loss_config
        dead = (self.silent >= self.dead_after).nonzero().squeeze(1)
        auxiliary = Auxiliary(dead, config.k_aux) if config.lambda_aux else None
        out = self(x_BP, scales_of(config, self), auxiliary, norms=needs_norms(config))
        if self.training:
            fired_Q = torch.zeros_like(self.silent, dtype=torch.bool)
            fired_Q[out.support.columns[out.fires()].long()] = True
            self.silent = torch.where(fired_Q, 0, self.silent + len(x_BP))
        return total_loss(TermInputs(self, x_BR, out, config))["loss"]

    def _samples(self, values: Any, name: str) -> Tensor:
        samples = torch.as_tensor(values).to(self.W_enc)
        if self.loss_config.contrast:
            if samples.ndim != 3 or samples.shape[1] != 2:
                expected = "expected pairs of neighbours x 2 x dimensions, which contrast compares"
                raise ValueError(f"{name} has shape {tuple(samples.shape)}, {expected}")
            samples = samples.flatten(0, 1)
        if samples.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(samples.shape)}, expected samples x dimensions")
        return samples

    def _scaling(self) -> Scaling:
        return Scaling(*(self.get_buffer(name) for name in _SCALING))

    def _fit_scaling(self, x_BP: Tensor, x_BR: Tensor) -> None:
        """Measure mean and scale of the first batch."""
        sides = [(x_BP, self.input_sites)] + [(x_BR, self.target_sites)] * (self.config.pair == "transcoder")
        statistics: list[Tensor] = []
        for x, widths in sides:
            blocks = [site.detach().double().cpu() for site in x.split(widths, 1)]
            parts = [mean_and_scale(partial(iter, [site]), len(x)) for site in blocks]
            statistics += map(torch.cat, zip(*parts, strict=True))
        for buffer, value in zip(self._scaling()[:4], (statistics * 2)[:4], strict=True):
            buffer.copy_(value)
        self._scaling().latent_scale.fill_(1.0)

    def for_raw_activations(self) -> Self:
        """Return the model that reads and writes raw activations: a copy with ``normalise``, otherwise the model."""
        if not self.normalise:
            return self
        raw = copy.deepcopy(self)
        if raw._scaling().scale_p.any():
            raw._scaling().fold(raw)
        raw.normalise = False
        for name in _SCALING:
            delattr(raw, name)
        raw.keep_raw_norms()
        return raw

    def take_loss(self, settings: Mapping[str, Any]) -> None:
        """Let `loss` have the settings of the training that made the weights, without anchors and schedules."""
        terms = [term for name, term in extensions("loss term").items() if name in settings]
        names = {*LossConfig.model_fields, *(name for term in terms for name in term.settings.model_fields)}
        names -= _OF_ANCHORS_AND_SCHEDULES
        if settings.get("l0_form") == "quadratic":  # whose penalty contains the target
            names.add("target_l0")
        self.loss_config = LossConfig.from_dict({name: value for name, value in settings.items() if name in names})
        self.dead_after = settings.get("dead_after", default_of(Config, "dead_after"))
        self.keep_raw_norms()

    def keep_raw_norms(self) -> None:
        """Note the norms of unit decoder rows, which folding a scaling has changed."""
        if self.config.decoder_norm == "unit":
            self.raw_norms = self.W_dec.detach().norm(dim=1, keepdim=True)
