import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.training.adam import Adam
from sdlcore.training.resampling import DeadLatents, resample


def test_silence_is_counted_in_samples_and_ends_when_a_latent_fires():
    dead = DeadLatents(3, dead_after=8, device=torch.device("cpu"))
    dead.update(torch.tensor([False, True, False]), 4)
    assert dead.silent.tolist() == [4, 0, 4]
    assert not dead.mask().any()
    dead.update(torch.tensor([False, True, False]), 4)
    assert dead.mask().tolist() == [True, False, True]
    dead.update(torch.tensor([False, True, True]), 4)
    assert dead.silent.tolist() == [12, 0, 0]


@pytest.fixture(params=["relu", "jumprelu", "batchtopk", "gated"])
def trained(request):
    """Return a model after one step; the last four of its ten latents are dead."""
    config = ModelConfig(activation=request.param, n_q=10, k=4 if request.param == "batchtopk" else None, bias=True)
    model = SparseCoder.from_config(config, (6,), (5,), torch_stream(0, "init"))
    optimizer = Adam(model.parameters())
    x_p, x_r = torch.randn(50, 6), torch.randn(50, 5)
    (model(x_p).x_hat - x_r).square().sum().backward()
    optimizer.step(0.1)
    dead = DeadLatents(10, 8, torch.device("cpu"))
    dead.silent[6:] = 100
    return model, optimizer, dead, x_p, x_r


def test_dead_latents_point_at_samples_and_the_living_stay(trained):
    model, optimizer, dead, x_p, x_r = trained
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert resample(model, optimizer, dead, x_p, x_r, torch_stream(1, "r")) == 4
    for name in ("W_enc", "W_dec", "b_enc"):
        assert torch.equal(getattr(model, name)[:6], before[name][:6])
    to_p = torch.nn.functional.normalize(model.W_enc[6:]) @ torch.nn.functional.normalize(x_p).T
    to_r = torch.nn.functional.normalize(model.W_dec[6:]) @ torch.nn.functional.normalize(x_r - model.b_dec).T
    assert to_p.max(1).values.detach() == pytest.approx(1, abs=1e-5)
    assert torch.equal(to_p.argmax(1), to_r.argmax(1)), "encoder and decoder use the same sample"
    assert len(set(to_p.argmax(1).tolist())) == 4, "no two latents take one sample"
    norms = model.W_enc.norm(dim=1).detach()
    share = 1.0 if model.config.selects else 0.2
    assert norms[6:] == pytest.approx(share * norms[:6].mean().item(), rel=1e-5)
    assert (model.b_enc[6:] == 0).all()
    assert (dead.silent == 0).all()


def test_samples_are_drawn_by_their_squared_loss():
    model = SparseCoder.from_config(ModelConfig(activation="relu", n_q=1), (2,), (2,))  # weights of zero
    optimizer, generator = Adam(model.parameters()), torch_stream(0, "r")
    x, number = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), 0  # losses 1 and 4
    for _ in range(400):
        with torch.no_grad():
            model.W_dec.zero_()
        dead = DeadLatents(1, 8, torch.device("cpu"))
        dead.silent[0] = 100
        assert resample(model, optimizer, dead, x, x, generator) == 1
        number += int(model.W_dec[0, 1] > 0.5)
    assert number / 400 == pytest.approx(16 / 17, abs=0.05)  # four standard deviations; by the loss itself, 4 / 5


def test_a_linear_path_leaves_less_to_point_at():
    config = ModelConfig(pair="transcoder", activation="topk", n_q=4, k=2, skip=True)
    model = SparseCoder.from_config(config, (6,), (5,), torch_stream(0, "init"))
    dead, x_p, x_r = DeadLatents(4, 8, torch.device("cpu")), torch.randn(30, 6), torch.randn(30, 5)
    dead.silent[3] = 100
    with torch.no_grad():
        model.W_skip += torch.randn(6, 5)
        resample(model, Adam(model.parameters()), dead, x_p, x_r, torch_stream(1, "r"))
        residuals = torch.nn.functional.normalize(x_r - x_p @ model.W_skip)
        assert (torch.nn.functional.normalize(model.W_dec[3:]) @ residuals.T).max().item() == pytest.approx(1, abs=1e-5)


def test_moments_of_the_resampled_are_cleared_and_only_theirs(trained):
    model, optimizer, dead, x_p, x_r = trained
    optimizer.state[model.W_dec]["exp_avg"].fill_(1.0)
    resample(model, optimizer, dead, x_p, x_r, torch_stream(1, "r"))
    assert (optimizer.state[model.W_dec]["exp_avg"][6:] == 0).all()
    assert (optimizer.state[model.W_dec]["exp_avg"][:6] == 1).all()


def test_dead_latents_are_resampled_to_badly_reconstructed_samples(trained):
    model, optimizer, dead, x_p, x_r = trained
    x_r = x_r.clone()
    x_r[[3, 17, 20, 41]] *= 1e4
    resample(model, optimizer, dead, x_p, x_r, torch_stream(1, "r"))
    cosines = torch.nn.functional.normalize(model.W_enc[6:]) @ torch.nn.functional.normalize(x_p).T
    assert sorted(cosines.argmax(1).tolist()) == [3, 17, 20, 41]


def test_samples_that_cannot_be_weighed_are_refused_and_perfect_ones_leave_nothing_to_do(trained):
    model, optimizer, dead, x_p, x_r = trained
    with torch.no_grad():
        perfect = model.eval()(x_p).x_hat
    assert resample(model, optimizer, dead, x_p, perfect, torch_stream(1, "r")) == 0
    with pytest.raises(FloatingPointError, match="not finite"):
        resample(model, optimizer, dead, x_p, x_r * torch.nan, torch_stream(1, "r"))


def test_anchored_latents_are_spared_and_without_dead_ones_nothing_happens(trained):
    model, optimizer, dead, x_p, x_r = trained
    before = model.W_enc.clone()
    assert resample(model, optimizer, dead, x_p, x_r, torch_stream(1, "r"), spare=8) == 2
    assert torch.equal(model.W_enc[:8], before[:8])
    after = model.W_enc.clone()
    dead.silent.zero_()
    assert resample(model, optimizer, dead, x_p, x_r, torch_stream(1, "r")) == 0
    assert torch.equal(model.W_enc, after)
