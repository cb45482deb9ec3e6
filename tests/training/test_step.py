import pytest
import torch

from sdlcore.model.kernels import row_norms
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.training.step import TrainingStep

METHODS = {
    "sphere": {"activation": "topk", "k": 4, "decoder_norm": "unit"},
    "free": {"activation": "topk", "k": 4, "decoder_norm": "free", "bias": True},
    "penalised": {"activation": "jumprelu", "l1": 0.1, "init_threshold": 1.0, "bandwidth": 0.1, "decoder_norm": "free"},
    "accumulated": {"activation": "topk", "k": 4, "decoder_norm": "unit", "accumulate": 4},
    "anchored": {"activation": "topk", "k": 4, "decoder_norm": "unit", "lambda_anchor": 1.0},
    "dense": {"activation": "topk", "k": 90, "decoder_norm": "unit"},
}


def gradient_norms(settings, steps=3):
    config = RunConfig.from_dict({"n_q": 200, "steps": steps, "batch_size": 64, "gradient_clip": 0.1, **settings})
    model = SparseCoder(config.model, (16,), (16,), torch_stream(1, "initialisation"))
    generator = torch_stream(2, "samples")
    directions = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator))
    step = TrainingStep(model, config, (directions, directions) if config.loss.lambda_anchor else None)
    batches = [torch.randn(64, 16, generator=generator) for _ in range(steps)]
    return torch.stack([step(x, x, 1e-3)["gradient_norm"] for x in batches])


@pytest.mark.parametrize("method", METHODS)
def test_the_gradients_norm_is_that_of_the_gradient(method, monkeypatch):
    noted = []

    def counting(gradient, look=row_norms.noted):
        noted.append(look(gradient) is not None)
        return look(gradient)

    with monkeypatch.context() as patch:
        patch.setattr(row_norms, "noted", counting)
        known = gradient_norms(METHODS[method])
    monkeypatch.setattr(row_norms, "noted", lambda gradient: None)
    torch.testing.assert_close(known, gradient_norms(METHODS[method]), rtol=1e-5, atol=0)
    # what is not the whole gradient, or changed since, must not be taken for it
    assert sum(noted) == 3 * {"sphere": 2, "free": 2, "penalised": 1, "anchored": 4}.get(method, 0)


@pytest.mark.parametrize("settings", [METHODS[name] for name in ("anchored", "dense", "accumulated", "free")])
def test_the_anchors_gradient_is_autograds(settings, monkeypatch):
    """Though it is added to that of the weights by hand: to the bit, but where products with decoder rows are summed
    in another order."""
    config = RunConfig.from_dict({"n_q": 200, "steps": 3, "batch_size": 64, "lambda_anchor": 0.5} | settings)
    directions = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch_stream(2, "samples")))

    def trained():
        model = SparseCoder(config.model, (16,), (16,), torch_stream(1, "initialisation"))
        generator = torch_stream(3, "samples")
        step = TrainingStep(model, config, (directions, -directions))
        anchor = [step(x, x, 1e-2)["anchor"] for x in torch.randn(3, 64, 16, generator=generator)]
        return torch.stack(anchor), model.state_dict()

    anchor, weights = trained()
    monkeypatch.setattr(TrainingStep, "_tied_rows", lambda self: None)
    anchor_of_autograd, weights_of_autograd = trained()
    assert anchor[0] > anchor[-1] > 0
    near = {"rtol": 0, "atol": 0} if settings["decoder_norm"] == "free" else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(anchor, anchor_of_autograd, **near)
    torch.testing.assert_close(weights, weights_of_autograd, **near)
