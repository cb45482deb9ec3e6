"""Score true features with the best codes that we know of, by SAELens' evaluator: an oracle that sets the scale of F1.

    make peers
    benchmarks/.venv/bin/python -m studies.synthetic.oracle --csv resources/kept/synthsaebench_oracle.csv

The dictionary is the true directions of the n / 4 most frequent features of a world with SynthSAEBench's distribution.
Frequencies, magnitudes and thresholds are estimated from samples with known coefficients (part ``train``); the judge
draws other samples. The codes:

- ``linear``: the least-squares estimate of each coefficient, active above the threshold with the highest F1. A linear
  map that is fitted to detect features instead may have a higher F1.
- ``posterior``: `Posterior` over the rows of the dictionary. Rarer features are Gaussian noise.
- ``posterior, trees``: the same with known trees.
- ``posterior, all rows``: like ``posterior``, over the rows of all n features; latents of the n / 4 most frequent are
  scored.
"""

import argparse
import logging
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sae_lens.synthetic import eval_sae_on_synthetic_data

from benchmarks.synth_sampling import SIZES
from sdlcore.benches.saelens_evaluation import AnyEncoder
from sdlcore.benches.synth import SynthBench
from sdlstudy.results.tables import write_csv
from studies.synthetic.synth_encoders import CODES, encoder

KEYS = ["features", "version", "seed", "codes"]
"""Columns that identify an oracle. A repeated measurement replaces the row of the same oracle."""
BATCH = 1000


def measure(bench: SynthBench, codes: str, tuning: int, samples: int) -> dict[str, Any]:
    """Return the row of one oracle."""
    rows, encode = encoder(codes, bench, tuning)
    W_dec, bias = torch.from_numpy(rows.copy()), torch.from_numpy(bench.distribution.bias)
    judged = AnyEncoder(W_dec, encode, lambda latents: latents @ W_dec + bias)
    found = eval_sae_on_synthetic_data(judged, *bench.to_saelens(), num_samples=samples, batch_size=BATCH)
    return {
        **{"features": bench.settings.n, "version": bench.settings.version, "seed": bench.seed, "codes": codes},
        **{"f1": round(found.classification.f1_score, 4), "precision": round(found.classification.precision, 4)},
        **{"recall": round(found.classification.recall, 4), "mcc": round(found.mcc, 4)},
        **{"l0": round(found.sae_l0, 2), "true_l0": round(found.true_l0, 2)},
        **{"explained_variance": round(found.explained_variance, 4), "uniqueness": round(found.uniqueness, 4)},
        **{"tuning_samples": tuning, "samples": samples},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--features", nargs="+", type=int, choices=SIZES, default=[1024, 4096])
    parser.add_argument("--versions", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--codes", nargs="+", choices=CODES, default=CODES)
    parser.add_argument("--tuning", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=100_000)
    arguments = parser.parse_args(argv)
    logging.disable()
    torch.set_num_threads(1)
    rows: list[Any] = pd.read_csv(arguments.csv).to_dict("records") if arguments.csv.exists() else []
    for n, seed in product(arguments.features, arguments.seeds):
        n_p, roots = SIZES[n]
        first = SynthBench.draw(seed=seed, n=n, n_p=n_p, roots=roots)
        for version, codes in product(arguments.versions, arguments.codes):
            bench = SynthBench(first.settings.changed(version=version), first.seed, first.W_p, first.distribution)
            row = measure(bench, codes, arguments.tuning, arguments.samples)
            rows = [other for other in rows if any(other[key] != row[key] for key in KEYS)] + [row]
            write_csv(arguments.csv, pd.DataFrame(rows))
            print(row, flush=True)


if __name__ == "__main__":
    main()
