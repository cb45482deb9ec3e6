"""Run by the interpreter with SAELens: let SAELens evaluate a dictionary exported by sdlcore on one of its benches.

    python tests/interop/evaluator.py FOLDER

The folder holds ``bench.json`` and the export in ``exported``. Prints the result as JSON.
"""

import json
import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.synthetic import eval_sae_on_synthetic_data

import sdlcore as sdl
import sdlcore.saelens  # registers the class of encoders that SAELens does not have


def main(folder: Path) -> None:
    drawn = json.loads((folder / "bench.json").read_text())
    bench = sdl.SynthBench.draw(seed=drawn["seed"], **drawn["settings"])
    sae = SAE.load_from_disk(folder / "exported")
    features, generator = bench.to_saelens()
    evaluation = eval_sae_on_synthetic_data(sae, features, generator, drawn["samples"], drawn["batch"])
    print(json.dumps(evaluation.to_dict()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
