"""Loss terms and all gradients against a plain dense reference in float64, one sample and one latent at a time."""

import itertools

import pytest
import torch

from sdlcore import losses
from sdlcore.model import SparseCoder
from sdlcore.pairs import pair_sites
from sdlcore.run import LossConfig, ModelConfig
from sdlcore.streams import torch_stream

N_P, N_R, N_Q, B, K = 5, 4, 9, 6, 3
BANDWIDTH = 0.6
LOSSES = {
    "plain": {},
    "l1": {"l1": 0.7},
    "l0": {"l0": 0.3},
    "multi_scale": {"multi_k": (1, 2, K)},
    "everything": {"l1": 0.2, "l0": 0.4},
}


def supported(activation, loss):
    if loss in ("l0", "everything"):
        return activation == "jumprelu"
    return loss != "multi_scale" or "topk" in activation


CASES = [
    (pair, activation, loss, anchored)
    for pair, activation, loss, anchored in itertools.product(
        ("sae", "transcoder", "crosscoder"), ("relu", "jumprelu", "topk", "batchtopk"), LOSSES, (False, True)
    )
    if supported(activation, loss)
]


class Case:
    def __init__(self, pair, activation, loss, anchored):
        config = ModelConfig(
            *(pair, activation, N_Q, K if "topk" in activation else None, True),
            init_threshold=0.3,
            bandwidth=BANDWIDTH,
        )
        sites = pair_sites(pair, N_P, N_R)
        generator = torch_stream(3, pair, activation, loss)
        self.model = SparseCoder(config, *sites, generator).double()
        with torch.no_grad():
            for parameter in (self.model.W_enc, self.model.W_dec, self.model.b_enc, self.model.b_dec):
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        n_p, n_r = (sum(widths) for widths in sites)
        self.x_p = torch.randn(B, n_p, generator=generator, dtype=torch.float64)
        self.x_r = self.x_p if pair != "transcoder" else torch.randn(B, n_r, generator=generator, dtype=torch.float64)
        self.anchors = None
        if anchored:
            draws = [torch.randn(2, width, generator=generator, dtype=torch.float64) for width in (n_p, n_r)]
            self.anchors = tuple(torch.nn.functional.normalize(draw) for draw in draws)
        self.config = LossConfig(**LOSSES[loss], lambda_anchor=0.5 if anchored else 0.0)


def active_sets(activation, z, theta, k):
    """Which latents fire, sample by sample, by the definitions of section 2.4."""
    if activation == "relu":
        return [[i for i in range(N_Q) if z[b, i] > 0] for b in range(B)]
    if activation == "jumprelu":
        return [[i for i in range(N_Q) if z[b, i] > theta[i]] for b in range(B)]
    if activation == "topk":
        ranked = [sorted(range(N_Q), key=lambda i, b=b: -z[b, i])[:k] for b in range(B)]
    else:
        best = sorted(itertools.product(range(B), range(N_Q)), key=lambda place: -z[place])[: k * B]
        ranked = [[i for c, i in best if c == b] for b in range(B)]
    return [[i for i in ranked[b] if z[b, i] > 0] for b in range(B)]


def reference(case):
    """Loss and gradients written out, with no autograd and no library function of ours."""
    model, config = case.model, case.config
    W_E, b_E, W_D, b_D = (p.detach().clone() for p in (model.W_enc, model.b_enc, model.W_dec, model.b_dec))
    activation = model.config.activation
    theta = model.sigma.threshold.detach() if activation == "jumprelu" else torch.zeros(N_Q)
    gradients = {"W_enc": torch.zeros_like(W_E), "b_enc": torch.zeros_like(b_E)}
    gradients |= {
        "W_dec": torch.zeros_like(W_D),
        "b_dec": torch.zeros_like(b_D),
        "theta": torch.zeros(N_Q).double(),
    }
    z = torch.stack([torch.stack([W_E[i] @ case.x_p[b] + b_E[i] for i in range(N_Q)]) for b in range(B)])
    loss = 0.0
    edges = torch.tensor([0, *itertools.accumulate(model.target_sites)])

    def to_pre(b, i, slope):
        gradients["W_enc"][i] += slope * case.x_p[b]
        gradients["b_enc"][i] += slope

    def kernel(b, i):
        return (1.0 if abs(z[b, i] - theta[i]) < BANDWIDTH / 2 else 0.0) / BANDWIDTH

    def to_latent(b, i, slope, fires):
        """Gradient that reaches latent i of sample b, fire it or not: JumpReLU's threshold sees both."""
        if fires:
            to_pre(b, i, slope)
        if activation == "jumprelu":
            gradients["theta"][i] += -theta[i] * kernel(b, i) * slope

    for k in config.multi_k or (K,):
        sets = active_sets(activation, z, theta, k)
        for b in range(B):
            error = b_D - case.x_r[b]
            for i in sets[b]:
                error = error + z[b, i] * W_D[i]
            loss += error @ error / B
            gradients["b_dec"] += 2 * error / B
            for i in range(N_Q):
                if i in sets[b]:
                    gradients["W_dec"][i] += 2 * error * z[b, i] / B
                to_latent(b, i, 2 * error @ W_D[i] / B, i in sets[b])
    sets = active_sets(activation, z, theta, K)
    for b in range(B):
        for i in range(N_Q):
            fires = i in sets[b]
            if config.l1:
                parts = [W_D[i, first:last] for first, last in itertools.pairwise(edges)]
                norm = sum(part.norm() for part in parts)
                to_latent(b, i, config.l1 * norm / B, fires)
                if fires:
                    loss += config.l1 * z[b, i] * norm / B
                    gradients["W_dec"][i] += config.l1 * z[b, i] / B * torch.cat([part / part.norm() for part in parts])
            if config.l0:
                loss += config.l0 * float(z[b, i] > theta[i]) / B
                gradients["theta"][i] += -config.l0 * kernel(b, i) / B
    if case.anchors is not None:
        for i, (w_p, w_r) in enumerate(zip(*case.anchors, strict=True)):
            loss += config.lambda_anchor * ((W_E[i] - w_p).square().sum() + (W_D[i] - w_r).square().sum())
            gradients["W_enc"][i] += 2 * config.lambda_anchor * (W_E[i] - w_p)
            gradients["W_dec"][i] += 2 * config.lambda_anchor * (W_D[i] - w_r)
    return loss, gradients


@pytest.mark.parametrize(("pair", "activation", "loss", "anchored"), CASES)
def test_loss_and_gradients_equal_the_reference(pair, activation, loss, anchored):
    case = Case(pair, activation, loss, anchored)
    model = case.model
    out = model(case.x_p)
    terms = losses.total_loss(model, case.x_r, out, case.config, case.anchors)
    terms["loss"].backward()
    expected, gradients = reference(case)
    torch.testing.assert_close(terms["loss"].item(), float(expected), rtol=1e-10, atol=0)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        torch.testing.assert_close(getattr(model, name).grad, gradients[name], rtol=1e-9, atol=1e-11, msg=name)
    if activation == "jumprelu":
        torch.testing.assert_close(model.sigma.threshold.grad, gradients["theta"], rtol=1e-9, atol=1e-11)


def test_terms_are_reported_unweighted_and_warm_up_scales_penalties_only():
    case = Case("sae", "jumprelu", "everything", True)
    out = case.model(case.x_p)
    terms = losses.total_loss(case.model, case.x_r, out, case.config, case.anchors, penalty=0.25)
    expected = terms["reconstruction"] + 0.25 * (0.2 * terms["l1"] + 0.4 * terms["l0_penalty"]) + 0.5 * terms["anchor"]
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["l0_penalty"].item() == (out.latents != 0).sum().item() / B


def test_l1_does_not_fall_when_the_decoder_grows_and_latents_shrink():
    latents, W_dec = torch.rand(4, 3), torch.randn(3, 6)
    one = losses.l1(latents, W_dec, (2, 4))
    torch.testing.assert_close(losses.l1(latents / 10, W_dec * 10, (2, 4)), one)


def test_terms_that_the_activation_lacks_are_refused():
    relu = Case("sae", "relu", "plain", False)
    out = relu.model(relu.x_p)
    with pytest.raises(TypeError, match="multi_k needs activation topk or batchtopk, found relu"):
        losses.total_loss(relu.model, relu.x_r, out, LossConfig(multi_k=(2,)), None)
    with pytest.raises(TypeError, match="l0 needs activation jumprelu, found relu"):
        losses.total_loss(relu.model, relu.x_r, out, LossConfig(l0=1.0), None)
