"""Latents are sorted by how often they fire, and nothing else changes."""

import torch

from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.sparse.products import decode_at
from sdlcore.training.step import TrainingStep
from tests.training.test_loop import METHODS, X, run


def step_of(settings):
    config = RunConfig.from_dict({"n_q": 32, "batch_size": 40, "steps": 9, "lr": 1e-2, **settings})
    model = SparseCoder(config.model, (6,), (6,), torch_stream(1, "initialisation"))
    return TrainingStep(model, config), torch.randn(40, 6, generator=torch_stream(2, "samples"))


def test_the_latents_move_with_their_weights_moments_and_silence():
    prefixes = {"prefixes": [8, 32], "reorder_every": 2, "lambda_aux": 0.1, "k_aux": 2, "dead_after": 40}
    step, x = step_of({"activation": "jumprelu", "init_threshold": 0.3, "bias": True, **prefixes})
    for number in range(2):
        step(x, x, number)
    model = step.model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = {p: {k: v.clone() for k, v in step.optimizer.state[p].items()} for p in step.names}
    fired, silent, x_hat = step.firings.clone(), step.dead.silent.clone(), model(x).x_hat
    step.reorder()
    order = torch.argsort(fired, descending=True, stable=True)
    assert order.tolist() != sorted(order.tolist())
    for name in model.latent_names:
        assert torch.equal(model.state_dict()[name], before[name][order])
    for p, old in moments.items():
        moved = step.names[p] in model.latent_names
        for key, value in old.items():
            assert torch.equal(step.optimizer.state[p][key], value[order] if moved and value.ndim else value)
    assert torch.equal(step.dead.silent, silent[order])
    assert not step.firings.any()
    torch.testing.assert_close(model(x).x_hat, x_hat)


def test_training_leaves_the_most_frequent_latents_in_the_smallest_prefix():
    model, _ = run({**METHODS["prefixes"], "reorder_every": 30})
    with torch.no_grad():
        fires = (model.eval().encode(torch.from_numpy(X)) > 0).float().mean(0)
    assert fires[:16].mean() > 2 * fires[16:].mean()


def test_a_detached_sum_passes_its_gradient_to_its_own_part_alone():
    step, x = step_of({"activation": "topk", "k": 4, "prefixes": [8, 32]})
    support = step.model(x, step._scales).support
    values = torch.rand(len(support), generator=torch_stream(3, "values"), requires_grad=True)
    for detached in (False, True):
        rows = decode_at(values, support, step.model.W_dec, (), 2, detached=detached).rows
        (gradient,) = torch.autograd.grad(rows[:, 1].sum(), values)
        earlier = support.rows % 2 == 0
        assert gradient[~earlier].abs().min() > 0
        assert bool((gradient[earlier] == 0).all()) == detached
