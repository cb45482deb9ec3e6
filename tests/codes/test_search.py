"""Codes by search, better rows and new encoders for dictionaries that exist."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.codes import logistic, refine
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder

SETTINGS = {"activation": "batchtopk", "k": 3, "n_q": 32, "bias": True, "lr": 3e-3, "steps": 100}
QUIET = {"progress": False}
MATCHING_PURSUIT = {
    "activation": "matching_pursuit",
    "k": 3,
    "n_q": 8,
    "tied": True,
    "decoder_norm": "unit",
    "steps": 1,
}


@pytest.fixture(scope="module")
def bench():
    return sdl.SynthBench.draw(seed=0, n=128, n_p=64, roots=1)


@pytest.fixture(scope="module")
def x(bench):
    return bench.samples(20_000).input


@pytest.fixture(scope="module")
def unseen(bench):
    return bench.samples(4000, "test").input


@pytest.fixture(scope="module")
def trained(x):
    return sdl.fit(x, **SETTINGS, **QUIET)


@pytest.fixture(scope="module")
def refined_rows(trained, x):
    return sdl.refine(trained, x, rounds=6, n_samples=10_000, **QUIET)


def scores(dictionary, bench):
    return sdl.evaluate(dictionary, bench, n_samples=4000, nulls=False)


def l0(dictionary, x):
    return (dictionary.encode(x) > 0).sum(1).mean()


def fvu(dictionary, x):
    return ((dictionary.reconstruct(x) - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


def test_batches_and_stores_have_the_codes_of_arrays(trained, x, unseen, tmp_path):
    np.save(tmp_path / "x.npy", x)
    expected = sdl.search(trained, x, n_samples=5000, **QUIET).encode(unseen)

    def batches():
        yield from np.split(x, 20)

    for samples in (tmp_path / "x.npy", batches, lambda step: x[1000 * (step % 20) :][:1000]):
        np.testing.assert_array_equal(sdl.search(trained, samples, n_samples=5000, **QUIET).encode(unseen), expected)


def test_omp_reconstructs_better_than_an_encoder_and_is_saved(x, unseen, tmp_path):
    trained = sdl.fit(x, **SETTINGS | {"activation": "topk"}, **QUIET)
    before = fvu(trained, unseen)
    dictionary = sdl.search(trained, method="omp")
    assert fvu(dictionary, unseen) < before
    assert (dictionary.encode(unseen) >= 0).all()
    assert fvu(trained, unseen) == before  # the dictionary itself does not change
    dictionary.save(tmp_path / "found")
    np.testing.assert_array_equal(sdl.load(tmp_path / "found").encode(unseen), dictionary.encode(unseen))
    sparse = dictionary.encode(unseen[:50], sparse=True)
    np.testing.assert_array_equal(sparse.toarray(), dictionary.encode(unseen[:50]))


def test_omp_keeps_at_most_k_latents_and_lowers_the_error_with_each(trained, unseen):
    errors = [fvu(sdl.search(trained, method="omp", k=k), unseen) for k in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert (sdl.search(trained, method="omp", k=4).encode(unseen) > 0).sum(1).max() <= 4


def test_omp_reaches_a_mean_l0_and_beats_a_fixed_k_on_samples_that_differ(trained, x, unseen, tmp_path):
    fixed, thresholded = sdl.search(trained, method="omp", k=3), sdl.search(trained, x, "omp", l0=3)
    active = (thresholded.encode(unseen) > 0).sum(1)
    assert active.mean() == pytest.approx(3, rel=0.05)
    assert active.std() > 0.5
    assert fvu(thresholded, unseen) < fvu(fixed, unseen)
    thresholded.save(tmp_path / "saved")
    np.testing.assert_array_equal(sdl.load(tmp_path / "saved").encode(unseen), thresholded.encode(unseen))


def test_refined_rows_detect_more_features(trained, refined_rows, bench):
    before, after = scores(trained, bench), scores(refined_rows, bench)
    assert after["detection_f1"] > before["detection_f1"] + 0.1
    assert refined_rows.provenance["refined"] == {"rounds": 6, "n_samples": 10_000, "seed": 0}
    assert refined_rows.settings["k"] == 3  # those of the training


def test_refined_rows_keep_their_index_and_the_replaced_ones_are_listed(trained, refined_rows, x, tmp_path):
    replaced = refined_rows.provenance["replaced"]
    assert 0 < len(replaced) < 32
    staying = [i for i in range(32) if i not in replaced]
    cosines = torch.nn.functional.cosine_similarity(refined_rows.W_dec[:, None], trained.W_dec, dim=2)
    nearest = cosines[staying].argmax(1).tolist()
    assert np.mean([nearest[n] == i for n, i in enumerate(staying)]) > 0.9
    assert f"| replaced | `{replaced}` |" in str(refined_rows.generate_model_card())
    for activation in ("jumprelu", "topk"):  # the new encoder's rows have the same indices
        encoder = sdl.reencode(refined_rows, x, activation, 3, steps=2, out=tmp_path / activation, **QUIET)
        assert encoder.provenance["replaced"] == sdl.load(tmp_path / activation).provenance["replaced"] == replaced
        sdl.reencode(refined_rows, x, activation, 3, steps=2, out=tmp_path / activation, **QUIET)  # opened


def test_an_interrupted_refinement_goes_on_after_its_last_round(trained, x, refined_rows, tmp_path, monkeypatch):
    rounds = []

    def interrupted(*arguments):
        rounds.append(None)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return mean_shift(*arguments)

    mean_shift, call = refine.mean_shift, {"rounds": 6, "n_samples": 10_000, "out": tmp_path / "out", **QUIET}
    monkeypatch.setattr(refine, "mean_shift", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sdl.refine(trained, x, **call)
    dictionary = sdl.refine(trained, x, **call)
    assert len(rounds) == 4  # the third round, again; the last three of six add no latent
    assert dictionary.provenance["replaced"] == refined_rows.provenance["replaced"]
    torch.testing.assert_close(dictionary.W_dec, refined_rows.W_dec, rtol=0, atol=1e-6)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}
    opened = sdl.refine(trained, x, **call)
    torch.testing.assert_close(opened.W_dec, dictionary.W_dec, rtol=0, atol=0)
    with pytest.raises(ValueError, match="belongs to another run: rounds is 6, here 5"):
        sdl.refine(trained, x, **call | {"rounds": 5})


def test_a_finished_refinement_is_not_opened_for_other_batches(trained, x, tmp_path):
    batches, call = np.split(x, 20), {"rounds": 4, "n_samples": 1000, "out": tmp_path / "out", **QUIET}
    dictionary = sdl.refine(trained, lambda step: batches[step % 20], **call)
    again = sdl.refine(trained, lambda step: batches[step % 20], **call)
    torch.testing.assert_close(again.W_dec, dictionary.W_dec, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"belongs to another run: inputs\.store\.first_batch is"):
        sdl.refine(trained, lambda step: batches[step % 20] + 1, **call)

    def passes():
        yield from batches

    sdl.refine(trained, passes, **call | {"out": tmp_path / "passes"})
    with pytest.warns(UserWarning, match="opened the finished run; its batches were not compared") as caught:
        sdl.refine(trained, passes, **call | {"out": tmp_path / "passes"})
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("requested", [None, 2.0, 3.5])
def test_a_new_encoder_has_the_requested_l0_on_unseen_samples(requested, refined_rows, x, unseen, bench):
    dictionary = sdl.reencode(refined_rows, x, l0=requested, steps=150, **QUIET)
    assert dictionary.coder.config.activation == "jumprelu"
    assert l0(dictionary, unseen) == pytest.approx(requested or l0(refined_rows, unseen), rel=0.05)
    torch.testing.assert_close(dictionary.W_dec, refined_rows.W_dec, rtol=0, atol=0)
    if requested is None:
        # within .03 of the search that it imitates, whose F1 is above that of the trained encoder by more than .1
        assert scores(dictionary, bench)["detection_f1"] > scores(refined_rows, bench)["detection_f1"] - 0.03
        assert fvu(dictionary, unseen) < fvu(refined_rows, unseen) + 0.05


def test_an_interrupted_encoder_goes_on_with_its_last_state(refined_rows, x, tmp_path, monkeypatch):
    call = {"steps": 8, "l0": 3.0, **QUIET}
    expected = sdl.reencode(refined_rows, x, **call)
    take, steps = logistic._take_step, []

    def interrupted(*arguments):
        steps.append(None)
        if len(steps) == 6:
            raise KeyboardInterrupt
        take(*arguments)

    monkeypatch.setattr(logistic, "_take_step", interrupted)
    monkeypatch.setattr(logistic, "SAVED", 2)
    with pytest.raises(KeyboardInterrupt):
        sdl.reencode(refined_rows, x, out=tmp_path / "out", **call)
    dictionary = sdl.reencode(refined_rows, x, out=tmp_path / "out", **call)
    assert len(steps) == 6 + 4
    torch.testing.assert_close(dictionary.coder.state_dict(), expected.coder.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_a_trained_encoder_keeps_the_rows(activation, refined_rows, x, unseen):
    dictionary = sdl.reencode(refined_rows, x, activation, 3, steps=100, **QUIET)
    torch.testing.assert_close(dictionary.W_dec, refined_rows.W_dec, rtol=0, atol=1e-5)
    assert l0(dictionary, unseen) == pytest.approx(3, rel=0.05)
    assert fvu(dictionary, unseen) < 0.5


@pytest.mark.parametrize("other", [{"activation": "topk"}, {"activation": "relu", "k": None, "l1": 0.1}])
def test_a_linear_encoder_is_the_start_of_the_new_one(other, x, unseen):
    trained = sdl.fit(x, **SETTINGS | other, **QUIET)
    dictionary = sdl.reencode(trained, x, "topk", 3, steps=1, **QUIET)
    from_rows = sdl.reencode(sdl.search(trained, method="omp", k=3), x, "topk", 3, steps=1, **QUIET)
    # one step changes a weight by the learning rate at most
    directions = torch.nn.functional.cosine_similarity(dictionary.W_enc, trained.W_enc)
    assert directions[trained.W_enc.norm(dim=1) > 0].min() > 0.99
    assert fvu(dictionary, unseen) < fvu(from_rows, unseen)


@pytest.mark.parametrize(
    ("to", "activation"),
    [("saelens", "jumprelu"), ("saelens", "topk"), ("dictionary_learning", "jumprelu"), ("sparsify", "topk")],
)
def test_another_library_s_file_is_opened_refined_encoded_and_exported(to, activation, trained, x, unseen, tmp_path):
    theirs = sdl.export(trained, "saelens", tmp_path / "theirs")
    better = sdl.refine(theirs, x, rounds=4, n_samples=2000, **QUIET)
    encoder = sdl.reencode(better, x, activation, 3, steps=20, **QUIET)
    again = sdl.load(sdl.export(encoder, to, tmp_path / "exported"), to)
    assert again.coder.config.activation == activation
    codes = encoder.encode(unseen)
    # folding b_dec into biases and back rounds pre-activations of at most ten or so
    np.testing.assert_allclose(again.encode(unseen)[codes > 1e-3], codes[codes > 1e-3], rtol=0, atol=1e-4)
    assert ((again.encode(unseen) > 0) != (codes > 0)).mean() < 1e-4


def test_posterior_codes_warn_where_the_user_calls_if_they_are_worse_than_the_encoder():
    noise = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    trained = sdl.fit(noise, **SETTINGS | {"k": 8, "n_q": 256}, **QUIET)
    with pytest.warns(UserWarning, match='fvu of the .* on 2000 samples, .* use method="omp", or keep') as caught:
        sdl.search(trained, noise, **QUIET)
    assert {warning.filename for warning in caught} == {__file__}


def test_a_search_warns_of_an_l0_that_no_threshold_reaches(trained, x):
    repeated, zeros = np.repeat(x[:1], 500, axis=0), np.concatenate([x[:500], np.zeros((1500, 64), np.float32)])
    for samples, asked in ((repeated, 1.5), (zeros, 2.5)):
        with pytest.warns(
            UserWarning, match=f"l0 is {asked}, but the codes activate .* latents on average: no thr"
        ) as caught:
            dictionary = sdl.search(trained, samples, "omp", l0=asked, **QUIET)
        assert {warning.filename for warning in caught} == {__file__}
        reached = l0(dictionary, samples)
        assert f"activate {reached:.3g} latents" in str(caught[0].message)
        # rounding, which differs with the number of samples in a call, must not decide
        few = np.concatenate([dictionary.encode(part) for part in np.split(samples[-200:], 200)])
        assert ((few > 0) == (dictionary.encode(samples)[-200:] > 0)).all()


def test_a_search_records_its_samples_and_its_l0(trained, x):
    thresholded = sdl.search(trained, x, "omp", l0=2.5)
    assert thresholded.provenance["searched"] == {"method": "omp", "l0": 2.5, "k": 10, "n_samples": 8192}
    assert repr(thresholded).startswith("Dictionary(sae, omp, l0=2.5, k=10, ")
    posterior = sdl.search(thresholded, x[:3000], **QUIET)
    assert posterior.provenance["searched"] == {"method": "posterior", "n_samples": 3000}
    assert "l0" not in repr(posterior)


def test_codes_by_search_are_not_exported_and_not_trained(trained, x, tmp_path):
    dictionary = sdl.search(trained, method="omp")
    with pytest.raises(sdl.RefusedError, match=r"this omp autoencoder: .* by sdl\.reencode first"):
        sdl.export(dictionary, "sparsify", tmp_path / "out")
    with pytest.raises(ValueError, match="no gradient passes through this encoder"):
        dictionary.coder.loss(x[:8])
    with pytest.raises(ValueError, match="activation omp searches on known rows"):
        sdl.fit(x, activation="omp", k=3, n_q=32, steps=1, **QUIET)
    # the architecture of the training before the search
    assert sdl.fit(x, start=dictionary, steps=1, **QUIET).coder.config.activation == "batchtopk"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda d, x: sdl.search(d), "posterior needs x, samples"),
        (lambda d, x: sdl.search(d, method="omp", l0=3), "l0 needs x, samples"),
        (lambda d, x: sdl.search(d, x, l0=3), "posterior codes choose their own L0; .* use sdl.reencode"),
        (
            lambda d, x: sdl.search(d, x, "omp", k=2, l0=3),
            "2 steps activate 2 latents on average; lower l0, or raise k",
        ),
        (lambda d, x: sdl.search(d, x[:, :8]), r"x has sites of \(8,\) dimensions, but the sae \(64,\)"),
        (lambda d, x: sdl.refine(d, (x, x)), r"x has sites of \(64, 64\) dimensions, but the sae \(64,\)"),
        (lambda d, x: sdl.search(d, x[:200], "omp", l0=32, k=32), "32 steps activate .* latents on average; lower l0"),
        (lambda d, x: sdl.search(d, x, n_samples=1, **QUIET), r"active in 3 samples \(of 1\); give more samples"),
        (
            lambda d, x: sdl.refine(d, iter([x[:500]]), n_samples=500, **QUIET),
            "x is an iterator, which can be read only once",
        ),
        (lambda d, x: sdl.reencode(d, x, "topk", 2.5), "topk needs l0, a whole number"),
        (lambda d, x: sdl.reencode(d, x, "topk", 33), "k must be at most n_q = 32, found 33"),
        (lambda d, x: sdl.reencode(sdl.search(d, method="omp"), x[:1]), "x has 1 samples, but thresholds need"),
    ],
)
def test_wrong_arguments_are_refused(call, problem, trained, x):
    with pytest.raises(ValueError, match=problem):
        call(trained, x)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pair": "transcoder", "activation": "relu"}, "dictionary is a transcoder, but codes by search need"),
        ({"activation": "abstopk", "k": 2}, "a search for codes is defined for non-negative latents"),
    ],
)
def test_other_dictionaries_are_refused(settings, problem, x):
    coder = SparseCoder.from_config(ModelConfig(n_q=8, **settings), (64,), (64,), torch.Generator()).eval()
    for call in (sdl.search, sdl.refine, sdl.reencode):
        with pytest.raises(ValueError, match=problem):
            call(sdl.Dictionary(coder, {}), x)
