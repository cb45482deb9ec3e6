"""One dictionary of every kind, with weights that all affect the output."""

import torch

from sdlcore.config import SELECTING, ModelConfig
from sdlcore.model.coder import SparseCoder

N, N_Q, K, WIDER = 24, 96, 6, 32

AUTOENCODERS = ("relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk")
KINDS: dict[str, dict] = {
    **{activation: {"activation": activation} for activation in AUTOENCODERS},
    "tied topk": {"activation": "topk", "tied": True},
    "tied relu": {"activation": "relu", "tied": True},
    "topk without biases": {"activation": "topk", "bias": False},
    "topk with unit decoder rows": {"activation": "topk", "decoder_norm": "unit"},
    "posterior codes": {"activation": "posterior", "decoder_norm": "unit"},
    "lista": {"activation": "lista", "ista_step": 0.1},
    "matching pursuit": {"activation": "matching_pursuit", "tied": True, "decoder_norm": "unit"},
    **{f"{activation} transcoder": {"activation": activation, "pair": "transcoder"} for activation in AUTOENCODERS},
    **{
        f"{activation} transcoder with a skip connection": {
            "activation": activation,
            "pair": "transcoder",
            "skip": True,
        }
        for activation in AUTOENCODERS
    },
    "relu transcoder to another width": {"activation": "relu", "pair": "transcoder"},
    "topk transcoder to another width": {"activation": "topk", "pair": "transcoder"},
    "relu crosscoder": {"activation": "relu", "pair": "crosscoder"},
    "topk crosscoder": {"activation": "topk", "pair": "crosscoder"},
    "relu crosscoder of one width": {"activation": "relu", "pair": "crosscoder"},
    "batchtopk crosscoder of one width": {"activation": "batchtopk", "pair": "crosscoder"},
}
"""Settings of a model of each kind. A Matryoshka differs only in its loss, so it is topk or batchtopk here, and so does
HierarchicalTopK, which is topk."""


def sites(kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of inputs and targets of a kind."""
    if "crosscoder" in kind:
        return ((N, N),) * 2 if "one width" in kind else ((N, WIDER),) * 2
    return (N,), (WIDER if "another width" in kind else N,)


@torch.no_grad()
def model_of(kind: str, seed: int = 0, n_q: int = N_Q) -> SparseCoder:
    """Return a dictionary of a kind: random weights, nonzero biases, a different threshold for each latent."""
    generator = torch.Generator().manual_seed(seed)
    settings = {"bias": True, "initialisation": "tied", "init_scale": 1.0, "n_q": n_q} | KINDS[kind]
    if settings["activation"] in SELECTING:
        settings["k"] = min(K, n_q)
    model = SparseCoder.from_config(ModelConfig(**settings), *sites(kind), generator)

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    if settings["bias"]:
        model.b_enc.copy_(0.3 * normal(model.b_enc))
        model.b_dec.copy_(normal(model.b_dec))
    if settings.get("decoder_norm") != "unit" and not settings.get("tied"):
        model.W_dec.mul_((0.5 + torch.rand(n_q, generator=generator))[:, None])
    if settings.get("skip"):
        model.W_skip.copy_(0.3 * normal(model.W_skip))
    state = model.state_dict()
    if settings["activation"] == "jumprelu":
        state["sigma.threshold"].copy_(1.5 * torch.rand(n_q, generator=generator))
    elif settings["activation"] == "batchtopk":
        state["sigma.threshold"].fill_(1.2)
    elif settings["activation"] == "gated":
        state["sigma.log_scale"].copy_(0.3 * normal(state["sigma.log_scale"]))
        state["sigma.offset"].copy_(0.3 * normal(state["sigma.offset"]))
    elif settings["activation"] == "lista":
        state["sigma.log_step"].copy_(0.3 * normal(state["sigma.log_step"]))
    elif settings["activation"] == "posterior":
        state["sigma.log_odds"].copy_(-1 - normal(state["sigma.log_odds"]).abs())
        state["sigma.means"].fill_(3.0)
        state["sigma.noise"].fill_(0.1)
    return model.eval()


def samples(kind: str, rows: int = 1000, seed: int = 1) -> torch.Tensor:
    """Return samples of a kind's inputs with a nonzero mean, so that biases matter."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.randn(rows, sum(sites(kind)[0]), generator=generator)


def agreement(ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]) -> tuple[int, float]:
    """Return the number of samples with equal active sets, and the largest relative error of an output.

    Arguments are latents and outputs of the same samples; the error is a norm over a sample's dimensions.
    """
    same = ((ours[0] != 0) == (theirs[0] != 0)).all(1)
    errors = (ours[1] - theirs[1]).norm(dim=1) / ours[1].norm(dim=1).clamp(min=1e-30)  # without a bias, some are zero
    return int(same.sum()), float(errors.max())
