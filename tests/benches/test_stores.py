"""The samples of a bench come from the streams that they always came from, and noise does not move them."""

import numpy as np

import sdlcore as sdl
from sdlcore.benches.lrb import coefficients, synthesise
from sdlcore.random_streams import stream

BENCH = {"n": 12, "n_p": 10, "n_r": 8, "sparsity": 0.8, "c_min": 0.1, "max_interference": 0.9}


def test_without_options_it_is_the_paper_s_bench_from_the_streams_that_it_always_had():
    bench = sdl.Bench.draw(seed=5, **BENCH)
    for part, rows in (("train", [8192, 808]), ("test", [50])):
        rng = stream(5, "samples", part)
        x = np.vstack([coefficients(size, 12, 0.8, rng, 0.1, 1.0).toarray() for size in rows])
        assert (bench.samples(sum(rows), part).features.toarray() == x).all()
    samples = bench.samples(50, "test")
    assert (samples.input == synthesise(samples.features, bench.W_p)).all()
    assert (samples.target == synthesise(samples.features, bench.W_r)).all()


def test_noise_changes_no_coefficient_and_is_another_in_input_and_target():
    plain, noisy = (sdl.Bench.draw(seed=5, noise=noise, **BENCH).samples(9000) for noise in (0.0, 0.5))
    assert (plain.features.toarray() == noisy.features.toarray()).all()
    added = [noisy.input - plain.input, noisy.target - plain.target]
    assert abs(np.corrcoef(added[0][:, 0], added[1][:, 0])[0, 1]) < 5 / np.sqrt(9000)
