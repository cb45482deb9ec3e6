import pytest
import torch

from sdlcore.model import SparseCoder
from sdlcore.model.kernels import row_norms
from sdlcore.run import RunConfig
from sdlcore.streams import torch_stream
from sdlcore.training.step import TrainingStep

METHODS = {
    "sphere": {"activation": "topk", "k": 4, "decoder_norm": "unit"},
    "free": {"activation": "topk", "k": 4, "decoder_norm": "free", "bias": True},
    "penalised": {"activation": "jumprelu", "l1": 0.1, "init_threshold": 1.0, "bandwidth": 0.1, "decoder_norm": "free"},
    "accumulated": {"activation": "topk", "k": 4, "decoder_norm": "unit", "accumulate": 4},
    "anchored": {"activation": "topk", "k": 4, "decoder_norm": "unit", "lambda_anchor": 1.0},
    "dense": {"activation": "topk", "k": 60, "decoder_norm": "unit"},
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
    assert sum(noted) == 3 * {"sphere": 2, "free": 2, "penalised": 1}.get(method, 0)
