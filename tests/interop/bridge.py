"""Extract from a TransformerBridge, and save the expected activations; needs an interpreter with TransformerLens 4.

    python tests/interop/bridge.py FOLDER

The folder contains ``texts.json``, and a model and its tokenizer in ``lm``. The script writes a store for each place,
and a store with the last token of each document. ``expected.npz`` contains float32 activations: by place, from the
bridge's own cache for the tokens of the stores; from a forward hook at blocks.1; at the last token of each document.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

import sdlcore as sdl

PLACES = {
    "blocks.1": "blocks.1.hook_out",
    "blocks.2.hook_resid_post": "blocks.2.hook_out",
    "resid_pre.2": "blocks.2.hook_in",
    "resid_mid.1": "blocks.1.hook_resid_mid",
    "mlp_in.1": "blocks.1.mlp.hook_in",
    "blocks.1.hook_mlp_out": "blocks.1.mlp.hook_out",
    "blocks.0.attn.hook_out": "blocks.0.hook_attn_out",
}
"""Place in `sdlcore.extract` -> name in the bridge's cache."""
READING = {"context_length": 16, "batch_size": 3, "store_dtype": "float32", "progress": False}


@torch.no_grad()
def main(folder: Path) -> None:
    lm = AutoModelForCausalLM.from_pretrained(folder / "lm", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "lm")
    bridge = TransformerBridge.boot_transformers(str(folder / "lm"), hf_model=lm, tokenizer=tokenizer, device="cpu")
    texts = json.loads((folder / "texts.json").read_text())
    stores = sdl.extract(bridge, texts, at=list(PLACES), out=folder / "stores", drop=(), **READING)
    ids = torch.from_numpy(stores[0].read("token")).long().reshape(-1, READING["context_length"])
    seen = {name: [] for name in (*PLACES, "own hook", "last")}
    hook = bridge.blocks[1].register_forward_hook(lambda *call: seen["own hook"].append(call[-1]))
    for batch in ids.split(READING["batch_size"]):
        _, cache = bridge.run_with_cache(batch)
        for place, name in PLACES.items():
            seen[place].append(cache[name])
    hook.remove()
    sdl.extract(bridge, texts, at="blocks.1", out=folder / "last.h5", tokens="last", **READING)
    for text in filter(None, texts):
        document = tokenizer(text, return_tensors="pt")["input_ids"][:, : READING["context_length"]]
        seen["last"].append(bridge.run_with_cache(document)[1]["blocks.1.hook_out"][:, -1:])
    np.savez(folder / "expected.npz", **{name: torch.cat(parts).flatten(0, 1) for name, parts in seen.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
