"""The formulas of crosscoders in the fork science-of-finetuning/dictionary_learning, from its dictionary.py.

Latents are relu(sum over sites of x W_enc + b_enc). BatchTopK keeps a latent where it exceeds the threshold after it is
multiplied by a norm of its decoder rows: their sum over sites (CROSSCODER), the norm of all sites (SAE), or one (NONE).
"""

import json
from pathlib import Path

import torch
from torch import Tensor

NAMES = {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", "code_normalization_id"}


def computed(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return latents and outputs (sites side by side) of N x sites d samples, from the files of a folder."""
    state = torch.load(folder / "ae.pt", weights_only=True)
    trainer = json.loads((folder / "config.json").read_text())["trainer"]
    W_enc, W_dec = state["encoder.weight"], state["decoder.weight"]
    sites, width, n_q = W_enc.shape
    sizes = trainer["num_encoder_layers"], trainer["activation_dim"], trainer["dict_size"]
    assert (sites, width, n_q) == sizes
    assert W_dec.shape == (sites, n_q, width)
    f = torch.relu(torch.einsum("bld,ldf->bf", x.unflatten(1, (sites, width)), W_enc) + state["encoder.bias"])
    if trainer["dict_class"] == "BatchTopKCrossCoder":
        assert state.keys() == NAMES | {"k", "threshold"}
        norms = W_dec.norm(dim=2)
        norm = {"CROSSCODER": norms.sum(0), "SAE": norms.square().sum(0).sqrt(), "NONE": torch.ones(n_q)}
        f = f * (f * norm[trainer["code_normalization"]] > state["threshold"])
    else:
        assert trainer["dict_class"] == "CrossCoder"
        assert state.keys() == NAMES
    return f, (torch.einsum("bf,lfd->bld", f, W_dec) + state["decoder.bias"]).flatten(1)
