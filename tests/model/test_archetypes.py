"""Decoders whose rows are mixtures of centroids (RA-SAE)."""

import numpy as np
import pytest
import scipy.optimize
import torch

import sdlcore as sdl
from sdlcore.config import Config, LossConfig, ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import total_loss
from sdlcore.model.scaling import no_scaling
from sdlcore.random_streams import stream, torch_stream
from sdlcore.training.initialise import centroids
from sdlcore.training.step import TrainingStep
from tests.fitting.test_fitting import QUIET

D, Q, C = 6, 20, 8
X = np.random.default_rng(0).standard_normal((2000, D)).astype(np.float32) ** 3
HOW = {"activation": "topk", "k": 2, "n_q": Q, "steps": 40, "batch_size": 100, "lr": 1e-2, **QUIET}


def archetypes(delta=0.5):
    generator = torch_stream(0, "archetypes")
    layer = Archetypes(torch.randn(C, D, generator=generator), Q, delta)
    with torch.no_grad():
        layer.weights.add_(0.3 * torch.randn(Q, C, generator=generator))
        layer.relaxation.add_(torch.randn(Q, D, generator=generator))
        layer.weights[3] = -1.0
    return layer


def test_rows_are_mixtures_within_delta_of_the_hull():
    layer = archetypes()
    with torch.no_grad():
        layer.relaxation[5] *= 0.1 / layer.relaxation[5].norm()
    short = layer.relaxation[5].clone()
    layer.constrain()
    A, relaxation = layer.weights.detach(), layer.relaxation.detach()
    assert (A >= 0).all()
    torch.testing.assert_close(A.sum(1), torch.ones(Q))
    assert (A[3] == 1 / C).all()  # no weight was above zero
    torch.testing.assert_close(relaxation.norm(dim=1)[torch.arange(Q) != 5], torch.full((Q - 1,), 0.5))
    assert torch.equal(relaxation[5], short)  # within delta already
    expected = [sum(A[i, c] * layer.centroids[c] for c in range(C)) + relaxation[i] for i in range(Q)]
    torch.testing.assert_close(layer(), torch.stack(expected))
    strict = archetypes(delta=0.0)
    strict.constrain()
    assert not strict.relaxation.any()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_is_that_of_the_dense_definition(accumulate):
    config = ModelConfig("sae", "topk", Q, 3, archetypes=C)
    model = SparseCoder.from_config(config, (D,), (D,), torch_stream(1, "initialisation"))
    model.archetypes = archetypes()
    model.constrain()
    x = torch.randn(32, D, generator=torch_stream(2, "samples"))
    for part in x.chunk(accumulate):
        (total_loss(TermInputs(model, part, model(part), LossConfig()))["loss"] / accumulate).backward()
    A, relaxation = (p.detach().clone().requires_grad_() for p in model.archetypes.parameters())
    latents = model.encode(x).detach()
    (latents @ (A @ model.archetypes.centroids + relaxation) - x).square().sum(1).mean().backward()
    assert model.W_dec.grad is None
    assert model.W_enc.grad is not None
    # sums of at most 32 products in another order: 32 eps of their sizes, which are below 100
    torch.testing.assert_close(model.archetypes.weights.grad, A.grad, rtol=0, atol=4e-4)
    torch.testing.assert_close(model.archetypes.relaxation.grad, relaxation.grad, rtol=0, atol=4e-4)


def test_a_trained_dictionary_lies_in_the_hull_and_is_saved_as_any_other(tmp_path):
    sae = sdl.fit(X, archetypes=C, relaxation=0.0, normalise=False, out=tmp_path / "run", **HOW)
    rng = stream(0, "initialisation", "archetypes")
    centres = centroids(Arrays(X), "sae", C, no_scaling(D, D), rng).double().numpy()
    # a mixture has weights that add up to one: nonnegative least squares with a row of ones
    hull, W_dec = np.vstack([centres.T, np.full(C, 10.0)]), sae.W_dec.detach().double().numpy()
    off = [scipy.optimize.nnls(hull, np.append(row, 10.0))[1] for row in W_dec]
    assert max(off) < 1e-4
    assert len(np.unique(W_dec.round(4), axis=0)) == Q  # training moved the rows apart
    assert torch.equal(sdl.load(tmp_path / "run").W_dec, sae.W_dec)
    assert sae.history[-1]["fvu"] < sae.history[0]["fvu"]


@pytest.mark.parametrize("more", [{}, {"bias": True, "normalise": True, "initialisation": "tied"}])
def test_relaxation_helps_and_the_same_call_gives_the_same_bits(more):
    loose, again, strict = (sdl.fit(X, archetypes=C, relaxation=delta, **HOW, **more) for delta in (2.0, 2.0, 0.0))
    assert torch.equal(loose.W_dec, again.W_dec)
    assert loose.history[-1]["fvu"] < strict.history[-1]["fvu"]


def test_the_latents_move_with_their_archetypes():
    config = Config.from_dict({"activation": "topk", "k": 3, "n_q": Q, "archetypes": C, "prefixes": [4, Q]} | SORTED)
    model = SparseCoder.from_config(config.model, (D,), (D,), torch_stream(1, "initialisation"))
    model.archetypes = archetypes()
    model.constrain()
    step = TrainingStep(model, config)
    x = torch.from_numpy(X[:100])
    step(x, x)
    x_hat = model.eval()(x).x_hat
    step.reorder()
    torch.testing.assert_close(model(x).x_hat, x_hat)
    step.finish()
    torch.testing.assert_close(model.archetypes(), model.W_dec)
    restored = SparseCoder.from_config(config.model, (D,), (D,), torch_stream(1, "initialisation"))
    restored.archetypes = archetypes()
    other = TrainingStep(restored, config)
    other.restore({name: tensor.clone() for name, tensor in step.state().items()})
    for one in (step, other):
        one(x, x, 1)
        one.finish()
    assert torch.equal(model.W_dec, restored.W_dec)


SORTED = {"reorder_every": 5, "batch_size": 100, "lr": 1e-2, "lr_warmup": 0}
