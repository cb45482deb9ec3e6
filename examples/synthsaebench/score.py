"""Score a dictionary by SAELens' own evaluation on a world with SynthSAEBench's distribution.

    python examples/synthsaebench/score.py FOLDER --seed 0 --k 25

FOLDER contains a dictionary of sdlcore (a run's folder, or one that `Dictionary.save` wrote), or a SAELens dictionary,
which `sdl.export(dictionary, "saelens", FOLDER)` writes. With ``--k``, BatchTopK keeps k latents a sample in each batch
of a SAELens dictionary, as in SAELens' runner; without it, the dictionary's own thresholds or codes count.
It needs SAELens beside sdlcore: `make peers` makes such an environment.
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.synthetic import eval_sae_on_synthetic_data

import sdlcore as sdl

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", help="folder of the dictionary")
parser.add_argument("--world", type=json.loads, default={}, help='settings of the world, as JSON: {"version": 1}')
parser.add_argument("--seed", type=int, default=0, help="seed of the world")
parser.add_argument("--samples", type=int, default=1_000_000)
parser.add_argument("--k", type=float, help="number of latents per sample that BatchTopK keeps")
arguments = parser.parse_args()

bench = sdl.SynthBench.draw(seed=arguments.seed, **arguments.world)
sae: Any
if (Path(arguments.folder) / "model.safetensors").is_file():
    if arguments.k:
        parser.error("--k needs a SAELens dictionary; export this one")
    ours = sdl.load(arguments.folder)
    # what SAELens' evaluation uses of a dictionary
    sae = SimpleNamespace(W_dec=ours.W_dec, encode=ours.encode, decode=ours.decode, eval=lambda: None)
else:
    sae = SAE.load_from_disk(arguments.folder)
if arguments.k:
    sae.activation_fn = BatchTopK(arguments.k)
    sae.threshold.data = torch.zeros_like(sae.threshold)
features, generator = bench.to_saelens()
found = eval_sae_on_synthetic_data(sae, features, generator, num_samples=arguments.samples, batch_size=1024)
print(json.dumps(found.to_dict()))
