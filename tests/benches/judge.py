"""Run by the interpreter that has SAELens: let SAELens and us score dictionaries on a small world of `sdl.SynthBench`.

    python tests/benches/judge.py FOLDER

Prints JSON: for each judgement, the scores by name.
"""

import json
import logging
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from sae_lens import SAE
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.synthetic import eval_sae_on_synthetic_data

import sdlcore as sdl
from sdlcore.data.arrays import Arrays
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth

WORLD = {"n": 96, "n_p": 48, "roots": 2, "depth": 2, "min_frequency": 0.01}
K, SAMPLES, BATCH = 4, 8192, 1024  # the example's batches


def theirs(sae, bench):
    """Return SAELens' scores under our names."""
    evaluation = eval_sae_on_synthetic_data(sae, *bench.to_saelens(), num_samples=SAMPLES, batch_size=BATCH)
    return {
        "detection_f1": evaluation.classification.f1_score,
        "detection_precision": evaluation.classification.precision,
        "detection_recall": evaluation.classification.recall,
        "uniqueness": evaluation.uniqueness,
        "mcc": evaluation.mcc,
        "l0": evaluation.sae_l0,
    }


def ours(coder, bench):
    """Return our scores on the samples that SAELens draws."""
    _, generator = bench.to_saelens()
    drawn = np.concatenate([generator.sample(BATCH).numpy() for _ in range(SAMPLES // BATCH)])
    x = bench.sampler("saelens").coefficients(0, SAMPLES)
    assert np.array_equal(x.toarray(), drawn)
    samples = Arrays(x @ bench.W_p.T + bench.distribution.bias, features=x)
    truth = GroundTruth(bench.references, np.zeros(0, dtype=np.int64))
    return evaluate_coder(coder, samples, truth, np.random.default_rng(0)).metrics


def main(folder: Path) -> None:
    scores = {}
    for version in (1, 2):
        bench = sdl.SynthBench.draw(seed=0, version=version, **WORLD)
        settings = {"activation": "batchtopk", "n_q": 24, "k": K, "bias": True, "steps": 300, "lr": 3e-3}
        trained = sdl.fit(bench.sample(20_000), **settings, progress=False)
        sdl.export(trained, "saelens", folder / str(version))
        sae = SAE.load_from_disk(folder / str(version))
        metrics = ours(trained.coder.eval(), bench)
        scores[f"threshold {version}"] = theirs(sae, bench)
        scores[f"ours {version}"] = {name: metrics[name] for name in scores[f"threshold {version}"]}
        any_encoder = SimpleNamespace(W_dec=sae.W_dec, encode=sae.encode, decode=sae.decode, eval=lambda: None)
        scores[f"any encoder {version}"] = theirs(any_encoder, bench)
        sae.activation_fn = BatchTopK(K)
        sae.threshold.data.zero_()
        scores[f"batchtopk {version}"] = theirs(sae, bench)
    print(json.dumps(scores))


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
