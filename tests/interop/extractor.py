"""Run by the interpreter with SAELens: extract from a HookedTransformer by sdlcore, and compare with run_with_cache.

    python tests/interop/extractor.py FOLDER

Needs TransformerLens 3: version 4 has no HookedTransformer.

The folder contains a tokenizer and ``texts.json``. Prints JSON: the largest difference of activations by hook.
"""

import json
import sys
from pathlib import Path

import torch
from sae_lens import HookedSAETransformer  # which has mlp.hook_in
from transformer_lens import HookedTransformerConfig
from transformers import AutoTokenizer

import sdlcore as sdl

HOOKS = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "mlp.hook_in", "hook_mlp_out", "hook_resid_post")


@torch.no_grad()
def main(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer, texts = AutoTokenizer.from_pretrained(folder), json.loads((folder / "texts.json").read_text())
    sizes = {"n_layers": 2, "d_model": 24, "n_ctx": 16, "d_head": 8, "n_heads": 3, "d_mlp": 32}
    config = HookedTransformerConfig(**sizes, d_vocab=len(tokenizer), act_fn="gelu", device="cpu")
    lm, errors = HookedSAETransformer(config), {}
    for hook in (f"blocks.1.{name}" for name in HOOKS):
        reading = {"tokenizer": tokenizer, "drop": (), "bos": False, "context_length": 16, "progress": False}
        with sdl.extract(lm, texts, at=hook, out=folder / f"{hook}.h5", **reading) as store:
            x = torch.from_numpy(store.read("input")).float()
            ids = torch.from_numpy(store.read("references/token")).long().reshape(-1, 16)
        cached = lm.run_with_cache(ids)[1][hook].flatten(0, 1)
        errors[hook] = float((x - cached).abs().max() / cached.abs().max())
    print(json.dumps(errors))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
