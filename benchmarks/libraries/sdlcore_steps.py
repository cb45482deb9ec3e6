"""sdlcore: ``TrainingStep``, as the training loop calls it.

A step is: encode (dense product), sigma, sparse decode, loss; backward; removal of the gradient along the decoder's
directions; gradient clipping to 1; fused Adam; constraints (unit decoder rows, non-negative thresholds); firing
statistics. Biases are trained, as by the peers. With bfloat16 only the encoder's product is in bfloat16; exact
pre-activations then decide which latents are active. Parameters and the rest of the step stay float32.
"""

from torch import Tensor

from benchmarks.cases import ARCHETYPES, OF_T_SAE, WITHOUT_K, Setting
from benchmarks.libraries import State, Trainee, fill
from sdlcore.config import Config
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.settings import Json
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.training.step import TrainingStep

_METHODS: dict[str, dict[str, Json]] = {
    "topk": {"activation": "topk", "decoder_norm": "unit"},
    "batchtopk": {"activation": "batchtopk", "decoder_norm": "unit"},
    "matryoshka": {"activation": "batchtopk", "decoder_norm": "unit"},
    # a free decoder, whose norms weight the penalty, as in SAELens and dictionary_learning
    "relu": {"activation": "relu", "l1": 1.0},
    "jumprelu": {"activation": "jumprelu", "l0": 1.0, "decoder_norm": "unit"},
    "gated": {"activation": "gated", "l1": 1.0, "decoder_norm": "unit"},
    # from the first step on with an exponent below 1, whose power takes longer
    "p_annealing": {"activation": "relu", "l1": 1.0, "l1_anneal_start": 0.0, "l1_exponent_end": 0.2},
    "abstopk": {"activation": "abstopk", "decoder_norm": "unit"},
    "matching_pursuit": {"activation": "matching_pursuit", "tied": True, "decoder_norm": "unit"},
    "hierarchical": {"activation": "topk", "hierarchical": True, "decoder_norm": "unit"},
    "ortsae": {"activation": "batchtopk", "orthogonality": 0.25, "decoder_norm": "unit"},
    "lista": {"activation": "lista", "decoder_norm": "unit"},
    # rows 2 i and 2 i + 1 of a batch count as neighbours
    "t_sae": {"activation": "batchtopk", "contrast": 0.1, "decoder_norm": "unit"},
    # unit rows are at most 2 apart
    "ra_sae": {"activation": "batchtopk", "archetypes": ARCHETYPES, "relaxation": 2.0},
}


def make(setting: Setting, weights: State | None) -> Trainee:
    return _Ours(setting, weights)


class _Ours:
    def __init__(self, setting: Setting, weights: State | None) -> None:
        own: dict[str, Json] = {"n_q": setting.latents, "precision": setting.dtype, "lr": setting.lr}
        if setting.method not in WITHOUT_K:
            own["k"] = setting.k
        if setting.method == "matryoshka":
            own["prefixes"] = list(setting.prefixes)
        if setting.method == "t_sae":
            own["prefixes"] = [setting.latents * first // OF_T_SAE[-1] for first in OF_T_SAE]
        config = Config.from_dict({**_METHODS[setting.method], "bias": True, "lr_warmup": 0, "lr_decay": 0, **own})
        sites = (setting.dimension,)
        # with given weights there is no need to draw them, which is slow for large dictionaries; drawing also ties them
        draws = weights is None or config.tied
        generator = torch_stream(setting.seed, "initialisation") if draws else None
        self.model = SparseCoder.from_config(config.model, sites, sites, generator)
        if weights is not None:
            fill(self.model, _named(setting.method, weights))
        if config.archetypes is not None:
            # the first rows are the centroids, and the relaxation makes the other rows what they were
            rows = self.model.W_dec.detach()
            found = Archetypes(rows[: config.archetypes].clone(), config.n_q, config.relaxation)
            found.relaxation.data.copy_(rows - found())
            self.model.archetypes = found
        self.model.train().to(setting.device)
        self.training = TrainingStep(self.model, config)
        if setting.kernels:
            self.training.kernels = self.training.optimizer.kernels = _kernels(setting.kernels)
        self.done = 0

    def step(self, x: Tensor) -> None:
        self.terms = self.training(x, x, self.done)
        self.done += 1

    def l0(self, x: Tensor) -> float:
        return float(self.terms["l0"])


def _kernels(name: str) -> Kernels:
    if name == "torch":
        return Kernels()
    from sdlcore.sparse.kernels.triton_kernels import TritonKernels

    return TritonKernels()


def _named(method: str, weights: State) -> dict[str, Tensor]:
    """Return the weights under our names. Our Gated stores the magnitude's bias as a difference from the gate's."""
    named = dict(weights)
    if method == "matching_pursuit":
        rows = named.pop("W_dec")
        named |= {"W_enc": rows, "b_enc": rows.new_zeros(len(rows))}
    if method == "jumprelu":
        named["sigma.threshold"] = named.pop("threshold")
    if method == "gated":
        gate, magnitude, scale = named.pop("b_gate"), named.pop("b_mag"), named.pop("r_mag")
        named |= {"b_enc": gate, "sigma.log_scale": scale, "sigma.offset": magnitude - scale.exp() * gate}
    return named
