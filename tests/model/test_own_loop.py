"""A user's own training loop."""

import copy

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import LossConfig
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import total_loss
from tests.fitting.test_fitting import QUIET, same

X = torch.from_numpy(np.random.default_rng(0).standard_normal((640, 8)).astype(np.float32))
TOPK = {"activation": "topk", "k": 3, "n_q": 24}
PLAIN = {"lr": 1e-3, "lr_warmup": 0.0, "lr_decay": 0.0, "gradient_clip": None, "normalise": False}
ATOL = 1e-6
"""A step moves a weight by some lr = 1e-3. Its direction is computed by some ten operations in float32, each with a
relative error of 6e-8 (2^-24), and the moments carry errors on: 30 steps of 1e-3 x 10 x 6e-8 x 30, some 2e-8 x 30."""


def test_twelve_lines_train_to_the_weights_of_fit(tmp_path):
    """With torch's Adam and the same batches, the loop equals fit without clipping and schedule up to rounding."""
    batches = X.split(64)
    coder = sdl.SparseCoder(n_p=8, **TOPK)
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-3)
    for batch in batches:
        loss = coder.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        coder.constrain()
    sae = sdl.Dictionary(coder)
    expected = sdl.fit(lambda step: batches[step], steps=len(batches), **PLAIN, **TOPK, **QUIET)
    torch.testing.assert_close(sae.W_enc, expected.W_enc, rtol=0, atol=ATOL)
    torch.testing.assert_close(sae.W_dec, expected.W_dec, rtol=0, atol=ATOL)
    sae.save(tmp_path / "run")
    loaded = sdl.load(tmp_path / "run")
    assert same(loaded, sae)
    assert loaded.provenance["training"] == "trained outside sdl.fit"
    assert (loaded.provenance["seed"], loaded.settings["k"], loaded.settings["lambda_aux"]) == (0, 3, 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": True},
        {"tied": True},
        {"n_r": 6, "skip": True},
        {"n_r": 6, "pair": "crosscoder"},
    ],
)
def test_with_normalise_the_first_batch_gives_the_scaling_of_fit(settings, tmp_path):
    """Every batch consists of all samples, so that the first one has fit's mean and scale."""
    x = 7 * X + 100
    batch = (x, x[:, :6] * 3) if "n_r" in settings else (x,)
    coder = sdl.SparseCoder(n_p=8, normalise=True, **TOPK, **settings)
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        coder.loss(*batch).backward()
        optimizer.step()
        coder.constrain()
    weights = copy.deepcopy(coder.state_dict())
    sae = sdl.Dictionary(coder)
    more = {name: value for name, value in settings.items() if name != "n_r"}
    expected = sdl.fit(
        lambda step: batch if len(batch) > 1 else x, steps=10, **PLAIN | {"normalise": True}, **TOPK, **more, **QUIET
    )
    for name, value in expected.coder.state_dict().items():
        torch.testing.assert_close(sae.coder.state_dict()[name], value, rtol=1e-5, atol=1e-4)  # biases of some 100
    assert all(torch.equal(value, weights[name]) for name, value in coder.state_dict().items())
    assert coder.training
    sae.save(tmp_path / "run")
    assert same(sdl.load(tmp_path / "run"), sae)
    assert sae.settings["normalise"]


def test_the_scaling_of_the_first_batch_is_part_of_the_state_and_stays():
    coder, resumed = (sdl.SparseCoder(n_p=8, normalise=True, **TOPK) for _ in range(2))
    assert torch.equal(sdl.Dictionary(coder).W_enc, coder.W_enc)  # before a batch, nothing is scaled
    loss = coder.loss(X)
    resumed.load_state_dict(coder.state_dict())
    assert float(coder.loss(9 * X)) == float(resumed.loss(9 * X)) > float(loss)
    with pytest.raises(ValueError, match=r"for normalised activations; give sdl.Dictionary\(coder\)"):
        sdl.evaluate(coder, x=X)


def test_a_loss_takes_tensors_and_arrays_and_has_the_requested_terms():
    sparse = {"activation": "relu", "l1": 0.1, "n_q": 24, "bias": True}
    coder = sdl.SparseCoder(n_p=8, n_r=6, decoder_norm="unit", **sparse)
    target = X[:64, :6]
    losses = [coder.loss(X[:64].double(), target), coder.loss(X[:64].numpy(), target)]
    expected = total_loss(TermInputs(coder, target, coder(X[:64], norms=True), LossConfig(l1=0.1)))["loss"]
    assert all(float(loss) == float(expected) for loss in losses)
    with torch.no_grad():
        coder.W_dec.mul_(2)
    coder.constrain()
    assert torch.allclose(coder.W_dec.norm(dim=1), torch.ones(24))
    crosscoder = sdl.SparseCoder(n_p=8, n_r=6, pair="crosscoder", **TOPK)
    both = torch.cat([X[:64], target], dim=1)
    assert float(crosscoder.loss(X[:64], target)) == float(crosscoder.loss(both))
    assert sdl.Dictionary(crosscoder).pair == "crosscoder"


def test_dead_latents_take_part_in_the_auxiliary_loss_and_counts_are_no_part_of_the_state():
    coder = sdl.SparseCoder(n_p=8, dead_after=100, lambda_aux=1.0, k_aux=4, activation="topk", k=1, n_q=200)
    first = coder.loss(X[:100])
    fired = coder.silent == 0
    assert 0 < fired.sum() < 200
    loss = coder.loss(X[:100])
    assert loss > first  # the same weights, now with the auxiliary loss
    loss.backward()
    assert coder.W_dec.grad[~fired].any()
    assert "silent" not in coder.state_dict()
    silent = coder.silent
    coder.eval()
    coder.loss(X[:100])
    assert coder.silent is silent


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 1e-3, "steps": 10}, "lr, steps: only sdl.fit has these settings, which your own loop replaces; leave"),
        ({"archetypes": 4}, "archetypes: only sdl.fit"),
        ({"initialisation": "samples"}, "initialisation samples: only sdl.fit"),
        ({"n_r": 3, "pair": "sae"}, "pair sae does not fit n_p = 8 and n_r = 3"),
    ],
)
def test_settings_of_fit_alone_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sdl.SparseCoder(n_p=8, **TOPK | settings)


def test_contrast_compares_the_two_samples_of_each_pair():
    coder = sdl.SparseCoder(n_p=8, contrast=0.5, **TOPK)
    plain = sdl.SparseCoder(n_p=8, **TOPK)
    pairs = X[:64].reshape(32, 2, 8)
    latents = plain.encode(torch.as_tensor(X[:64])).detach()
    unit = torch.nn.functional.normalize(latents).view(32, 2, -1)
    logits, targets = unit[:, 0] @ unit[:, 1].T, torch.arange(32)
    contrast = sum(torch.nn.functional.cross_entropy(each, targets) for each in (logits, logits.T)) / 2
    torch.testing.assert_close(coder.loss(pairs), plain.loss(X[:64]) + 0.5 * contrast)
    with pytest.raises(ValueError, match=r"x has shape \(64, 8\), expected pairs of neighbours x 2 x dimensions"):
        coder.loss(X[:64])


def test_the_coder_of_a_loaded_dictionary_has_the_loss_of_its_training(tmp_path):
    sparse = {"activation": "relu", "l1": 0.1, "n_q": 24, "bias": True, "loss_scale": "mean"}
    anchored = {"anchors": np.eye(8, dtype=np.float32)[:2], "penalty_warmup": 0.5}
    trained = sdl.fit(X.numpy(), steps=5, batch_size=64, **sparse, **anchored, **QUIET)
    trained.save(tmp_path / "run")
    for dictionary in (trained, sdl.load(tmp_path / "run")):
        assert type(dictionary.coder) is sdl.SparseCoder
        config = LossConfig(l1=0.1, loss_scale="mean")
        expected = total_loss(TermInputs(dictionary.coder, X, dictionary.coder(X, norms=True), config))["loss"]
        loss = dictionary.coder.loss(X)
        assert float(loss) == float(expected)
        loss.backward()
        assert dictionary.coder.W_enc.grad.any()


def test_the_coder_of_a_dictionary_with_unit_rows_keeps_their_norms_for_raw_activations():
    unit = {"activation": "relu", "l1": 0.1, "n_q": 24, "decoder_norm": "unit", "loss_scale": "mean"}
    coder = sdl.fit(9 * X.numpy(), steps=5, batch_size=64, normalise=True, **unit, **QUIET).coder
    rows = coder.W_dec.detach().clone()
    norms = rows.norm(dim=1)
    assert norms.mean() > 2
    latents = coder.encode(X).detach()
    error = (coder(X).x_hat.detach() - X).square().mean()
    assert coder.loss(X).item() == pytest.approx(float(error + 0.1 * (latents @ norms).mean()), rel=1e-5)
    with torch.no_grad():
        coder.W_dec.mul_(2)
    coder.constrain()
    torch.testing.assert_close(coder.W_dec.detach(), rows)
