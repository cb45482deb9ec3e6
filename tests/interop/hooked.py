"""Run by the interpreter with SAELens: dictionaries exported by sdlcore in SAELens' language model, and in any shape.

    python tests/interop/hooked.py FOLDER...

Needs TransformerLens 3: version 4 has no HookedTransformer.

Each folder is an export for the residual stream after the first block of a small model with random weights. The script
prints JSON: for each folder, the relative errors of latents, of reconstructions and of the logits with the dictionary
in the model. The references are sdlcore's own dictionary on samples x dimensions, and its reconstruction in a hook.
"""

import json
import sys

import torch
from sae_lens import SAE, HookedSAETransformer
from torch import Tensor
from transformer_lens import HookedTransformerConfig

import sdlcore as sdl
import sdlcore.saelens  # registers the class

WIDTH, HOOK = 24, "blocks.0.hook_resid_post"


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@torch.no_grad()
def main(folders: list[str]) -> None:
    torch.manual_seed(0)
    sizes = {"n_layers": 2, "d_model": WIDTH, "n_ctx": 16, "d_head": 8, "n_heads": 3, "d_vocab": 50, "d_mlp": 32}
    lm = HookedSAETransformer(HookedTransformerConfig(**sizes, act_fn="gelu", device="cpu"))
    tokens = torch.randint(0, 50, (4, 16))
    results = {}
    for folder in folders:
        sae, ours = SAE.load_from_disk(folder), sdl.load(folder)
        sae.train()  # SAELens leaves dictionaries in training mode
        x = lm.run_with_cache(tokens, names_filter=HOOK)[1][HOOK]  # batch x position x d
        flat = x.flatten(0, 1)

        def replaced(x: Tensor, hook: object, ours: sdl.Dictionary = ours) -> Tensor:
            return ours(x)

        logits, cache = lm.run_with_cache_with_saes(tokens, saes=[sae])
        results[folder] = {
            "latents": error(sae.encode(x).flatten(0, 1), ours.encode(flat)),
            "outputs": error(sae(x).flatten(0, 1), ours(flat)),
            "cached": error(cache[f"{HOOK}.hook_sae_acts_post"].flatten(0, 1), ours.encode(flat)),
            "logits": error(logits, lm.run_with_hooks(tokens, fwd_hooks=[(HOOK, replaced)])),
            "change": error(logits, lm(tokens)),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
