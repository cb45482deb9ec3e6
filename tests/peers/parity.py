"""Run by the interpreter that has other libraries: train a little, and hold what was taken against the library itself.

    python tests/peers/parity.py LIBRARY

Prints JSON: for each method the largest difference of latents and of reconstructions on samples that were not trained
on, the largest latent, the mean number of active latents, and how many steps were noted.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdlcore.peers import command
from sdlcore.peers.settings import ARCHITECTURES, PeerConfig

DIMENSION, LATENTS, BATCH, STEPS = 24, 64, 128, 60


def samples(rows: int, generator: torch.Generator) -> Tensor:
    """Return samples with a mean that is not zero, so that biases matter."""
    features = torch.nn.functional.normalize(torch.randn(40, DIMENSION, generator=torch.Generator().manual_seed(0)))
    active = (torch.rand(rows, 40, generator=generator) < 0.08) * (0.5 + torch.rand(rows, 40, generator=generator))
    return active @ features + 0.5


def batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        yield samples(BATCH, generator)


def settings(peer: str) -> dict[str, PeerConfig]:
    """Return what is trained by a library. Learning rates are high, so that all weights move far from their start."""
    own: dict[str, Any] = {"peer": peer, "n_q": LATENTS, "steps": STEPS, "batch_size": BATCH, "lr": 1e-2}
    found = {}
    for activation in ARCHITECTURES[peer]:
        k = {"k": 6} if activation in ("topk", "batchtopk") else {}
        found[activation] = PeerConfig(activation=activation, **own, **k)
    if "batchtopk" in found:
        found["matryoshka"] = PeerConfig(activation="batchtopk", k=6, prefixes=(16, LATENTS), **own)
    return found


Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def saelens(sae: Any) -> Forward:
    """The library's inference of what it saves."""
    from sae_lens import SAE

    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        loaded = SAE.load_from_disk(folder)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        latents = loaded.encode(x)
        reconstructions = loaded.decode(latents)
        if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False) and not torch.is_tensor(
            getattr(loaded, "threshold", None)
        ):
            # the norms are not folded into its TopK, but set aside
            assert torch.allclose(reconstructions, loaded(x))
        return latents, reconstructions

    return forward


def dictionary_learning(ae: Any) -> Forward:
    return lambda x: (ae.encode(x), ae(x))


def sparsify(trainer: Any) -> Forward:
    """The library's forward of what it saved at the end of training."""
    from sparsify import SparseCoder

    folder = Path(trainer.cfg.save_dir) / "unnamed" / "rows"
    coder = SparseCoder.load_from_disk(folder)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        top, columns, _ = coder.encode(x)
        return torch.zeros(len(x), coder.num_latents).scatter(1, columns, top), coder(x).sae_out

    return forward


def compare(peer: str) -> dict[str, dict[str, float]]:
    module = sys.modules[command.trainer_of(peer).__module__]
    inference = {"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}[peer]
    convert, taken = module.convert, {}

    def kept(theirs: Any, config: PeerConfig) -> Any:
        taken["inference"] = inference(theirs) if taken["steps"] >= STEPS else None
        return convert(theirs, config)

    module.convert = kept
    held_out = samples(500, torch.Generator().manual_seed(2))
    found = {}
    for method, config in settings(peer).items():
        taken["steps"] = 0

        def note(loss: Tensor, dictionary: Callable[[], Any]) -> None:
            taken["steps"] += 1

        model = module.train(batches(), DIMENSION, config, 3, note)
        with torch.no_grad():
            latents, reconstructions = taken["inference"](held_out)
            ours = model(held_out)
        found[method] = {
            "latents": float((ours.latents() - latents).abs().max()),
            "reconstructions": float((ours.x_hat - reconstructions).abs().max()),
            "largest": float(latents.max()),
            "l0": float((latents > 0).sum(1).float().mean()),
            "moved": float((model.W_dec - model.W_dec.mean(0)).abs().max()),
            "fvu": float((ours.x_hat - held_out).square().sum() / (held_out - held_out.mean(0)).square().sum()),
            "b_dec": float(model.b_dec.abs().max()),
            "steps": taken["steps"],
        }
    return found


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1])))
