import pytest
import torch

from sdlcore.config import Config
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary
from sdlcore.random_streams import torch_stream
from sdlcore.sparse import products
from sdlcore.sparse.kernels.interface import GradientNorms, Kernels
from sdlcore.training.step import TrainingStep

METHODS = {
    "sphere": {"activation": "topk", "k": 4, "decoder_norm": "unit"},
    "free": {"activation": "topk", "k": 4, "decoder_norm": "free", "bias": True},
    "penalised": {"activation": "jumprelu", "l1": 0.1, "init_threshold": 1.0, "bandwidth": 0.1, "decoder_norm": "free"},
    "accumulated": {"activation": "topk", "k": 4, "decoder_norm": "unit", "accumulate": 4},
    "anchored": {"activation": "topk", "k": 4, "decoder_norm": "unit", "lambda_anchor": 1.0},
    "matched": {"activation": "topk", "k": 4, "lambda_anchor": 1.0, "anchor_form": "matched", "anchor_until": 0.5},
    "cosine": {"activation": "topk", "k": 4, "tied": True, "lambda_anchor": 1.0, "anchor_form": "cosine"},
    "dense": {"activation": "topk", "k": 90, "decoder_norm": "unit"},
    "tied": {"activation": "topk", "k": 4, "tied": True},
    "tied sphere": {"activation": "relu", "l1": 0.1, "tied": True, "decoder_norm": "unit", "lambda_anchor": 1.0},
    "frozen decoder": {"activation": "topk", "k": 4, "frozen": "decoder", "weight_decay": 0.1},
}


@pytest.fixture(autouse=True)
def _dense_from_two_fifths_on(monkeypatch):
    # TopK keeps only positive pre-activations, half of all
    monkeypatch.setattr(products, "DENSE", 0.4)


def gradient_norms(settings, steps=3):
    config = Config.from_dict(
        {"n_q": 200, "steps": steps, "batch_size": 64, "gradient_clip": 0.1, "lr": 1e-3, **settings}
    )
    model = SparseCoder.from_config(config.model, (16,), (16,), torch_stream(1, "initialisation"))
    generator = torch_stream(2, "samples")
    directions = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator))
    step = TrainingStep(model, config, (directions, directions) if config.lambda_anchor else None)
    batches = [torch.randn(64, 16, generator=generator) for _ in range(steps)]
    return torch.stack([step(x, x)["gradient_norm"] for x in batches])


@pytest.mark.parametrize("method", METHODS)
def test_the_gradients_norm_is_that_of_the_gradient(method, monkeypatch):
    """Although it comes from the norms of rows where these are known."""
    norms = gradient_norms(METHODS[method])
    monkeypatch.setattr(GradientNorms, "of", lambda self, W, gradient: None)
    torch.testing.assert_close(norms, gradient_norms(METHODS[method]), rtol=1e-5, atol=0)


ANCHORED = ("anchored", "matched", "cosine", "dense", "accumulated", "free", "tied")


@pytest.mark.parametrize("settings", [METHODS[name] for name in ANCHORED])
def test_the_anchors_gradient_is_autograds(settings, monkeypatch):
    """Although it is added to the weights' gradient by hand. Equal to the bit, unless products with decoder rows, or
    the gradients of two sides of one matrix, are summed in another order."""
    config = Config.from_dict({"n_q": 200, "steps": 3, "batch_size": 64, "lr": 1e-2, "lambda_anchor": 0.5} | settings)
    directions = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch_stream(2, "samples")))

    def trained():
        model = SparseCoder.from_config(config.model, (16,), (16,), torch_stream(1, "initialisation"))
        generator = torch_stream(3, "samples")
        # other directions for the decoder, but not opposite ones, which would leave tied rows nothing to gain
        step = TrainingStep(model, config, (directions, directions.flip(1)))
        anchor = [step(x, x)["anchor"] for x in torch.randn(3, 64, 16, generator=generator)]
        return torch.stack(anchor), model.state_dict()

    anchor, weights = trained()
    monkeypatch.setattr(TrainingStep, "_anchored_rows", lambda self: None)
    anchor_of_autograd, weights_of_autograd = trained()
    assert anchor[0] > anchor[-1] > 0
    other_order = settings.get("decoder_norm") == "unit" or settings.get("tied")
    near = {"rtol": 1e-5, "atol": 1e-6} if other_order else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(anchor, anchor_of_autograd, **near)
    torch.testing.assert_close(weights, weights_of_autograd, **near)


def stepping(settings, kernels=None):
    """Yield the step's object and the weights after each step."""
    config = Config.from_dict({"n_q": 200, "batch_size": 64, "steps": 9, "lr": 1e-3, **settings})
    model = SparseCoder.from_config(config.model, (16,), (16,), torch_stream(1, "initialisation"))
    generator = torch_stream(2, "samples")
    directions = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator))
    step = TrainingStep(model, config, (directions, directions) if config.lambda_anchor else None)
    if kernels is not None:
        step.kernels = step.optimizer.kernels = kernels
    while True:
        x = torch.randn(64, 16, generator=generator)
        step(x, x.flip(1) if config.pair == "transcoder" else x)
        yield step, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def weights_after(steps, trained):
    return [next(trained)[1] for _ in range(steps)][-1]


OTHERS = {
    "matryoshka": {"activation": "batchtopk", "k": 4, "prefixes": [50, 200], "bias": True},
    "transcoder": {"activation": "relu", "l1": 0.1, "pair": "transcoder", "skip": True, "bias": True},
    "bfloat16": {"activation": "topk", "k": 4, "precision": "bfloat16"},
}


@pytest.mark.parametrize("method", {**METHODS, **OTHERS})
def test_either_backend_trains_the_same_dictionary(method):
    settings = {**METHODS, **OTHERS}[method]
    trained = (weights_after(3, stepping(settings, kernels)) for kernels in (None, Kernels()))
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", {**METHODS, **OTHERS})
def test_buffers_do_not_grow_from_step_to_step(method):
    trained = stepping({**METHODS, **OTHERS}[method])

    def spare():
        workspace = next(trained)[0].kernels.workspace
        return {shape: len(buffers) for shape, buffers in workspace._spare.items()}

    assert spare()
    buffers_by_shape = spare()
    assert buffers_by_shape == spare() == spare()


@pytest.mark.parametrize("pair", ["sae", "crosscoder"])
def test_tied_weights_take_the_steps_of_one_matrix(pair):
    """Compare with a plain float64 reference: W relu(top_k(W^T x)) with torch's autograd and AdamW."""
    settings = {
        **{"activation": "topk", "k": 4, "bias": False, "tied": True, "weight_decay": 0.1, "gradient_clip": None},
        **{"lr": 1e-2, "pair": pair},
    }
    config = Config.from_dict({"n_q": 60, "batch_size": 64, "steps": 9, **settings})
    sites = (16,) if pair == "sae" else (10, 6)
    model = SparseCoder.from_config(config.model, sites, sites, torch_stream(1, "initialisation")).double()
    W = torch.nn.Parameter(model.W_enc.detach().clone())
    reference = torch.optim.AdamW([W], lr=1e-2, weight_decay=0.1)
    step = TrainingStep(model, config)
    generator = torch_stream(3, "samples")
    for _ in range(5):
        x = torch.randn(64, 16, generator=generator).double()
        largest = (x @ W.T).topk(4)
        codes = torch.zeros(64, 60, dtype=torch.float64).scatter(1, largest.indices, largest.values.relu())
        loss = (x - codes @ W).square().sum(1).mean()
        reference.zero_grad()
        loss.backward()
        reference.step()
        torch.testing.assert_close(step(x, x)["loss"], loss)
        assert model.W_dec is model.W_enc
        torch.testing.assert_close(model.W_enc.data, W.data, rtol=1e-7, atol=1e-9)


BOTH = {"W_enc", "W_dec"}


@pytest.mark.parametrize(
    ("frozen", "tied", "stays"),
    [
        ("none", False, set()),
        ("encoder", False, {"W_enc"}),
        ("decoder", False, {"W_dec"}),
        ("both", False, BOTH),
        ("none", True, set()),
        ("both", True, BOTH),
    ],
)
def test_frozen_weights_stay_as_they_were_drawn(frozen, tied, stays):
    trained = stepping({"activation": "topk", "k": 4, "frozen": frozen, "tied": tied, "weight_decay": 0.1})
    step = next(trained)[0]
    drawn = SparseCoder.from_config(step.model.config, (16,), (16,), torch_stream(1, "initialisation")).state_dict()
    after = weights_after(3, trained)
    assert {name for name in ("W_enc", "W_dec") if torch.equal(after[name], drawn[name])} == stays


def step_of(settings):
    config = Config.from_dict({"n_q": 32, "batch_size": 40, "steps": 9, "lr": 1e-2, **settings})
    model = SparseCoder.from_config(config.model, (6,), (6,), torch_stream(1, "initialisation"))
    return TrainingStep(model, config), torch.randn(40, 6, generator=torch_stream(2, "samples"))


def test_the_latents_move_with_their_weights_moments_and_silence():
    prefixes = {"prefixes": [8, 32], "reorder_every": 2, "lambda_aux": 0.1, "k_aux": 2, "dead_after": 40}
    step, x = step_of({"activation": "jumprelu", "init_threshold": 0.3, "bias": True, **prefixes})
    for number in range(2):
        step(x, x, number)
    model = step.model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = {p: {k: v.clone() for k, v in step.optimizer.state[p].items()} for p in step.trained}
    step.dead.silent += torch.arange(len(step.dead.silent))  # all fired in the last step
    fired, silent, x_hat = step.firings.clone(), step.dead.silent.clone(), model(x).x_hat
    step._auxiliary = Auxiliary(torch.tensor([3, 17, 30]), 2)
    step.reorder()
    order = torch.argsort(fired, descending=True, stable=True)
    assert order.tolist() != sorted(order.tolist())
    for name in model.latent_names:
        assert torch.equal(model.state_dict()[name], before[name][order])
    for p, old in moments.items():
        moved = step.trained[p] in model.latent_names
        for key, value in old.items():
            assert torch.equal(step.optimizer.state[p][key], value[order] if moved and value.ndim else value)
    assert torch.equal(step.dead.silent, silent[order])
    assert sorted(order[step._auxiliary.dead].tolist()) == [3, 17, 30]
    assert not step.firings.any()
    torch.testing.assert_close(model(x).x_hat, x_hat)
