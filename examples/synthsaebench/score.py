"""Score a dictionary by SAELens' own evaluation on a world with SynthSAEBench's distribution.

    python examples/synthsaebench/score.py FOLDER --seed 0 --k 25

FOLDER contains a SAELens dictionary; `sdl.export(dictionary, "saelens", FOLDER)` writes one. With ``--k``, BatchTopK
keeps k latents a sample in each batch, as in SAELens' runner; without it, the dictionary's own thresholds count.
It needs SAELens beside sdlcore: `make peers` makes such an environment.
"""

import argparse
import json

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
sae = SAE.load_from_disk(arguments.folder)
if arguments.k:
    sae.activation_fn = BatchTopK(arguments.k)
    sae.threshold.data = torch.zeros_like(sae.threshold)
features, generator = bench.to_saelens()
found = eval_sae_on_synthetic_data(sae, features, generator, num_samples=arguments.samples, batch_size=1024)
print(json.dumps(found.to_dict()))
