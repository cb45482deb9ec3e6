"""Run by the interpreter with other libraries: train a little, and compare the imported dictionary with the library's.

    python tests/peers/parity.py LIBRARY

Prints JSON: for each method the largest difference of latents and of reconstructions on samples that were not trained
on, and what shows that there was something to compare.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peers import run_peer
from peers.settings import ARCHITECTURES, PeerConfig
from sdlcore.model.coder import SparseCoder

DIMENSION, LATENTS, BATCH, STEPS = 24, 64, 128, 60


def samples(rows: int, generator: torch.Generator) -> Tensor:
    """Return samples with a nonzero mean, so that biases matter."""
    features = torch.nn.functional.normalize(torch.randn(40, DIMENSION, generator=torch.Generator().manual_seed(0)))
    active = (torch.rand(rows, 40, generator=generator) < 0.08) * (0.5 + torch.rand(rows, 40, generator=generator))
    return active @ features + 0.5


def batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        yield samples(BATCH, generator)


def settings(peer: str) -> dict[str, PeerConfig]:
    """Return a library's trained dictionary. Learning rates are high, so that all weights move far from their start."""
    shared: dict[str, Any] = {"peer": peer, "n_q": LATENTS, "steps": STEPS, "batch_size": BATCH, "lr": 1e-2}
    configs = {}
    for activation in ARCHITECTURES[peer]:
        k = {"k": 6} if activation in ("topk", "batchtopk") else {}
        configs[activation] = PeerConfig(activation=activation, **shared, **k)
    if "batchtopk" in configs:
        configs["matryoshka"] = PeerConfig(activation="batchtopk", k=6, prefixes=(16, LATENTS), **shared)
    return configs


Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Returns latents and reconstructions of samples."""


def saelens(sae: Any) -> Forward:
    """Return the form that SAELens saves for inference and loads again."""
    from sae_lens import SAE

    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        loaded = SAE.load_from_disk(folder)
    return lambda x: (loaded.encode(x), loaded(x))


def dictionary_learning(ae: Any) -> Forward:
    return lambda x: (ae.encode(x), ae(x))


def sparsify(trainer: Any) -> Forward:
    """Return the dictionary that sparsify saved at the end of training."""
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(Path(trainer.cfg.save_dir) / "unnamed" / "rows")

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        top, columns, _ = coder.encode(x)
        return torch.zeros(len(x), coder.num_latents).scatter(1, columns, top), coder(x).sae_out

    return forward


def train(module: Any, config: PeerConfig) -> tuple[SparseCoder, list[Tensor]]:
    """Return the imported dictionary, and the reported losses."""
    losses: list[Tensor] = []
    return module.train(batches(), DIMENSION, config, 3, lambda loss, dictionary: losses.append(loss)), losses


def compare(peer: str) -> dict[str, dict[str, float]]:
    module = sys.modules[run_peer.trainer_of(peer).__module__]
    inference = {"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}[peer]
    convert, theirs, comparisons = module.convert, [], {}
    held_out = samples(500, torch.Generator().manual_seed(2))

    def keeping(trained: Any, config: PeerConfig) -> Any:
        theirs.append(inference(trained))  # here, while sparsify's folder is there
        return convert(trained, config)

    module.convert = keeping
    for method, config in settings(peer).items():
        model, losses = train(module, config)
        with torch.no_grad():
            latents, reconstructions = theirs[-1](held_out)
            ours = model(held_out)
        comparisons[method] = {
            "latents": float((ours.latents() - latents).abs().max()),
            "reconstructions": float((ours.x_hat - reconstructions).abs().max()),
            "l0": float((latents > 0).sum(1).float().mean()),
            "b_dec": float(model.b_dec.detach().abs().max()),
            "first_loss": float(losses[0]),
            "last_loss": float(losses[-1]),
            "steps": len(losses),
        }
    return comparisons


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1])))
