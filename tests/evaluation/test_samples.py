"""Evaluations store counts, not a number for each sample and feature."""

import tracemalloc

import numpy as np
import torch

from sdlcore.data.arrays import Arrays
from sdlcore.data.references import References
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.recovery import normalise_rows
from sdlcore.evaluation.samples import Latents, on_samples
from sdlcore.random_streams import stream
from tests.coders import coder

N_SAMPLES, N_P, N_CLASSES, N_Q = 20_000, 4, 400, 30


def test_memory_does_not_grow_by_a_number_for_each_sample_and_class():
    rng = stream(0, "samples")
    x = rng.standard_normal((N_SAMPLES, N_P), dtype=np.float32)
    store = Arrays(x, labels=rng.integers(0, N_CLASSES, N_SAMPLES), class_names=[str(i) for i in range(N_CLASSES)])
    means = normalise_rows(rng.standard_normal((N_CLASSES, N_P))).T
    references = References(means, classes=np.arange(N_CLASSES), class_names=store.class_names())
    truth = GroundTruth(references, np.zeros(0, int))
    W = rng.standard_normal((N_Q, N_P), dtype=np.float32)
    model = coder(W, W, activation="topk", k=2)
    statistics = Latents(model, store, truth, rng.integers(0, N_Q, N_CLASSES))
    with torch.no_grad():
        on_samples(model, Arrays(x[:2000]))  # compiles kernels, which allocates memory, too
        tracemalloc.start()
        on_samples(model, store, statistics)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert statistics.macro_f1()["macro_f1"] > 0
    assert peak < N_SAMPLES * N_CLASSES  # one byte per sample and class
