"""Run by the interpreter with SAELens: open releases by name in sdlcore and in SAELens, and compare their latents.

    python tests/interop/releases.py

The variable HF_ENDPOINT names a server with the files of `RELEASES`. Prints JSON: the largest difference of latents and
of outputs for each release, its hook and repr, and errors for names that do not exist.
"""

import json
import warnings

import torch
from sae_lens import SAE

import sdlcore as sdl

RELEASES = {
    "gpt2-small-res-jb": "blocks.8.hook_resid_pre",
    # its inputs are scaled by a factor that only SAELens' list contains
    "gpt2-small-mlp-tm": "blocks.1.hook_mlp_out",
}
UNKNOWN = [("gpt2-small-res-jbb", "x"), ("gpt2-small-res-jb", "blocks.99"), ("gpt2-small-attn-out-v5-32k", "blocks.0")]


@torch.no_grad()
def main() -> None:
    x = 0.5 + torch.randn(200, 24, generator=torch.Generator().manual_seed(0))
    dictionaries, errors = {}, []
    for release, dictionary in RELEASES.items():
        ours, theirs = sdl.load(release, subfolder=dictionary), SAE.from_pretrained(release, dictionary)
        dictionaries[release] = {
            "latents": float((ours.encode(x) - theirs.encode(x)).abs().max()),
            "outputs": float((ours(x) - theirs(x)).abs().max()),
            "active": float((ours.encode(x) > 0).sum(1).float().mean()),
            "repr": repr(ours),
        }
    for release, dictionary in UNKNOWN:
        try:
            sdl.load(release, subfolder=dictionary)
        except ValueError as error:
            errors.append(str(error))
    print(json.dumps({"dictionaries": dictionaries, "errors": errors}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
