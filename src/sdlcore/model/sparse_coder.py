"""Sparse autoencoders, transcoders and crosscoders as the one model that they are (Definition 2.5)."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdlcore.files import atomic_path
from sdlcore.model.sigma import JumpReLU, make_sigma
from sdlcore.run import ModelConfig


class Forward(NamedTuple):
    """What one pass over B samples computes."""

    pre: Tensor
    """B x n_q pre-activations W_E x_p + b_E."""
    latents: Tensor
    """B x n_q latents x_q = sigma(pre)."""
    x_hat: Tensor
    """B x n_r reconstruction of x_r."""


class SparseCoder(nn.Module):
    """One sparse dictionary model.

        latents = sigma(W_E x_p + b_E)
        x_r_hat = W_D latents + b_D

    With x_r = x_p it is a sparse autoencoder, with another x_r a transcoder; a crosscoder reads and writes the
    concatenation of several sites. Latent i has row i of `W_enc` (the paper's W_E[i, :]) and row i of `W_dec` (the
    paper's column W_D[:, i]); `W_dec` is kept by rows because a sparse code reads whole directions.

    Parameters
    ----------
    config
        The architecture.
    input_sites, target_sites
        Widths of the sites that make up x_p and x_r; their sums are n_p and n_r.
    generator
        Stream that draws the initial weights; without one they are zero, to be loaded.
    """

    def __init__(
        self,
        config: ModelConfig,
        input_sites: tuple[int, ...],
        target_sites: tuple[int, ...],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.input_sites = tuple(input_sites)
        self.target_sites = tuple(target_sites)
        n_p, n_q, n_r = sum(input_sites), config.n_q, sum(target_sites)
        self.W_enc = nn.Parameter(torch.zeros(n_q, n_p))
        self.b_enc = nn.Parameter(torch.zeros(n_q), requires_grad=config.bias)
        self.W_dec = nn.Parameter(torch.zeros(n_q, n_r))
        self.b_dec = nn.Parameter(torch.zeros(n_r), requires_grad=config.bias)
        self.sigma = make_sigma(config.activation, n_q, config.k, config.init_threshold, config.bandwidth)
        if generator is not None:
            self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        n_q, n_p = self.W_enc.shape
        n_r = self.W_dec.shape[1]
        if self.config.initialisation == "linear":
            self.W_enc.copy_((2 * torch.rand(n_q, n_p, generator=generator) - 1) / n_p**0.5)
            self.W_dec.copy_((2 * torch.rand(n_q, n_r, generator=generator) - 1) / n_q**0.5)
        else:
            directions = torch.randn(n_q, max(n_p, n_r), generator=generator)
            self.W_dec.copy_(nn.functional.normalize(directions[:, :n_r]))
            self.W_enc.copy_(self.config.init_scale * nn.functional.normalize(directions[:, :n_p]))
        self.constrain()

    def encode(self, x_BP: Tensor) -> Tensor:
        """Return the latents (B x n_q) of B samples of x_p (B x n_p)."""
        return self.sigma(self.pre_activations(x_BP))

    def pre_activations(self, x_BP: Tensor) -> Tensor:
        """Return W_E x_p + b_E (B x n_q)."""
        return nn.functional.linear(x_BP, self.W_enc, self.b_enc)

    def decode(self, latents_BQ: Tensor) -> Tensor:
        """Return W_D x_q + b_D (B x n_r)."""
        return latents_BQ @ self.W_dec + self.b_dec

    def forward(self, x_BP: Tensor) -> Forward:
        pre = self.pre_activations(x_BP)
        latents = self.sigma(pre)
        return Forward(pre, latents, self.decode(latents))

    @torch.no_grad()
    def constrain(self) -> None:
        """Put parameters back where they must be; the training loop calls it after each step."""
        if self.config.decoder_norm == "unit":
            self.W_dec.copy_(nn.functional.normalize(self.W_dec))
        if isinstance(self.sigma, JumpReLU):
            self.sigma.threshold.clamp_(min=0.0)


def save_model(path: str | Path, model: SparseCoder, provenance: dict[str, Any]) -> None:
    """Write ``model`` as safetensors. The metadata hold its configuration, so that the file alone can be opened."""
    description = {
        "model": vars(model.config),
        "input_sites": model.input_sites,
        "target_sites": model.target_sites,
        "provenance": provenance,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as part:
        # one entry, since safetensors writes several in random order and equal models should be equal files
        save_file(tensors, part, metadata={"sdlcore": json.dumps(description, sort_keys=True)})


def load_model(path: str | Path) -> SparseCoder:
    """Open what `save_model` wrote, in evaluation mode, on the CPU.

    Raises
    ------
    ValueError
        If the file is damaged or not one of ours; the message names it.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if "sdlcore" not in metadata:
        raise ValueError(
            f"{path}: a safetensors file, but not one of sdlcore's models (no configuration in its metadata)"
        )
    description = json.loads(metadata["sdlcore"])
    config = ModelConfig(**description["model"])
    model = SparseCoder(config, description["input_sites"], description["target_sites"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: tensors do not fit the configuration in its metadata ({error})") from error
    return model.eval()
