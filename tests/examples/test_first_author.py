"""The first author's recipe (`examples/first_author`) against plain torch: autograd, `clip_grad_norm_` and AdamW."""

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from examples.first_author.recipe import Recipe, Training, activation, training_of

SMALL = {"n": 24, "n_p": 16, "n_q": 96, "samples": 80, "k": 3, "max_interference": 0.6}
STEPS = 45


def by_torch(recipe: Recipe) -> tuple[list[torch.Tensor], list[float]]:
    """Train the same recipe densely, in float64 and with the weight decay that the recipe leaves out."""
    same = Training(recipe)
    weights = [w.double().clone().requires_grad_() for w in same.weights]
    W_enc, b_enc, W_dec, b_dec = weights
    optimiser = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=1e-5)
    errors = []
    for step in range(STEPS):
        same.step = step
        rows = same._rows()
        x, y = (torch.from_numpy(part[rows]).double() for part in (same.x, same.y))
        z = activation(x @ W_enc.T + b_enc, recipe)
        if not recipe.dense:
            whole = z.flatten(0) if recipe.method == "batchtopk" else z
            top = whole.topk(recipe.k * (len(z) if recipe.method == "batchtopk" else 1))
            z = torch.zeros_like(whole).scatter(-1, top.indices, top.values).view_as(z)
        error = mse_loss(z @ W_dec + b_dec, y)
        tied = zip((W_enc, W_dec), same.anchors, strict=True)
        pull = sum((W[: recipe.anchors] - A.double()).square().sum() for W, A in tied)
        optimiser.param_groups[0]["lr"] = recipe.rate(step * recipe.batch // recipe.samples)
        optimiser.zero_grad()
        (error + recipe.l1 * z.abs().mean() + recipe.anchor_weight * pull).backward()
        torch.nn.utils.clip_grad_norm_(weights, recipe.clip)
        optimiser.step()
        errors.append(error.item())
    return [w.detach() for w in weights], errors


@pytest.mark.slow
@pytest.mark.parametrize("method", ["topk", "batchtopk", "relu", "jumprelu", "transcoder", "crosscoder"])
@pytest.mark.parametrize(("clip", "cosine", "anchors"), [(1.0, 0, 0), (0.01, 0, 5), (1.0, 6, 5)])
def test_a_step_is_that_of_torch(method: str, clip: float, cosine: int, anchors: int) -> None:
    recipe = Recipe(
        method=method, lr=2e-3, batch=8, clip=clip, l1=0.5, gamma=0.2, cosine=cosine, anchors=anchors, **SMALL
    )
    training = Training(recipe)
    errors = [training.take_step() for _ in range(STEPS)]
    training.settle()
    expected, by_step = by_torch(recipe)
    np.testing.assert_allclose(errors, by_step, rtol=1e-4)
    for weights, expected_weights in zip(training.weights, expected, strict=True):
        # float32 loses about 1e-6 of the way that a weight can go; a gradient that is nearly zero may lose its sign
        assert float((weights.double() - expected_weights).abs().max()) < 1e-3 * recipe.lr * STEPS


@pytest.mark.parametrize("method", ["topk", "relu"])
def test_anchors_pull_the_first_latents_and_only_the_other_features_count(method: str) -> None:
    settings = {"method": method, "lr": 1e-2, "batch": 8, "anchor_weight": 10.0, **SMALL}
    anchored, free = Training(Recipe(anchors=5, **settings)), Training(Recipe(**settings))
    for _ in range(STEPS):
        anchored.take_step()
        free.take_step()
    others = np.mean([best_products(anchored)[5:]])
    assert anchored.look()["encoder_inner_mip"] == pytest.approx(others, abs=1e-6)
    for W, A in zip((anchored.W_enc, anchored.W_dec), anchored.anchors, strict=True):
        assert float((W[:5] - A).norm(dim=1).max()) < 0.2
    assert float((free.W_enc[:5] - anchored.anchors[0]).norm(dim=1).min()) > 0.5


def best_products(training: Training) -> np.ndarray:
    return (training.true[0] @ training.W_enc.T).abs().amax(1).numpy()


def test_batchtopk_keeps_k_for_a_sample_on_average_and_evaluates_by_its_threshold() -> None:
    training = Training(Recipe(method="batchtopk", lr=1e-9, batch=8, **SMALL))
    Z = torch.rand(8, 96, generator=torch.Generator().manual_seed(0))
    columns, values = training._kept_of_batch(Z)
    codes = torch.zeros_like(Z).scatter_add_(1, torch.from_numpy(columns), torch.from_numpy(values))
    smallest = float(Z.flatten().topk(24).values[-1])
    torch.testing.assert_close(codes, Z * (smallest <= Z))
    assert training.threshold == pytest.approx(smallest)
    H = training.threshold + torch.tensor([[-1e-3, 0.0, 1e-3]])
    torch.testing.assert_close(training.codes(H), H * torch.tensor([[0.0, 1.0, 1.0]]))


def test_the_cosine_changes_the_rate_as_his_schedule_does() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=9, eta_min=1e-5)
    rates = []
    for epoch in range(10):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if epoch >= 1:
            schedule.step()
    assert [Recipe(cosine=10).rate(epoch) for epoch in range(10)] == pytest.approx(rates)


def matryoshka(levels: str, level_k: str) -> Training:
    return training_of(Recipe(method="matryoshka", lr=2e-3, batch=8, l1=0.5, levels=levels, level_k=level_k, **SMALL))


@pytest.mark.slow
def test_a_matryoshka_keeps_k_of_each_block_and_trains_a_decoder_for_each_level() -> None:
    training = matryoshka("10,40,96", "1,2,3")
    H = torch.randn(7, 96, generator=torch.Generator().manual_seed(0))
    codes, values = training.codes(H), activation(H, training.recipe)
    for first, last, k in ((0, 10, 1), (10, 40, 2), (40, 96, 3)):
        block = values[:, first:last]
        expected = torch.zeros_like(block).scatter(1, block.topk(k).indices, block.topk(k).values)
        torch.testing.assert_close(codes[:, first:last], expected)
    before = [W.detach().clone() for W, _ in training.decoders]
    assert [len(W) for W in before] == [10, 40, 96]
    training.take_step()
    assert all((old != W).any() for (W, _), old in zip(training.decoders, before, strict=True))
    assert 0 < training.look()["l0"] <= 6


@pytest.mark.slow
def test_a_matryoshka_of_one_level_is_topk() -> None:
    one, topk = matryoshka("96", "3"), Training(Recipe(lr=2e-3, batch=8, l1=0.5, **SMALL))
    np.testing.assert_allclose([one.take_step() for _ in range(5)], [topk.take_step() for _ in range(5)], rtol=1e-4)


def test_levels_that_do_not_end_at_all_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="expected as many of both, and the last level to be n_q = 96"):
        matryoshka("10,40", "1,2")
