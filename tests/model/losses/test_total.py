"""Loss terms and all gradients against a plain dense reference in float64, for single samples and latents."""

import itertools

import pytest
import torch

from sdlcore.config import LossConfig, ModelConfig
from sdlcore.data.pairs import pair_sites
from sdlcore.model.activation import Activation
from sdlcore.model.activations.registry import activation
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary
from sdlcore.model.losses.orthogonality import drawn_chunks
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import needs_norms, scales_of, total_loss
from sdlcore.random_streams import torch_stream
from sdlcore.sparse import products

N_P, N_R, N_Q, B, K = 5, 4, 9, 6, 3
LOSSES = {
    "plain": {},
    "l1": {"l1": 0.7},
    "annealed": {"l1": 0.7, "l1_exponent_end": 0.4},
    "l0": {"l0": 0.3},
    "tanh": {"l0": 0.3, "l0_form": "tanh"},
    "quadratic": {"l0": 0.3, "l0_form": "quadratic", "target_l0": 2.0},
    "frequency": {"l0": 0.3, "frequency": 0.4},
    "multi_k": {"multi_k": (1, 2, K), "lambda_aux": 0.3, "k_aux": 2},
    "hierarchical": {"hierarchical": True},
    "detached": {"prefixes": (2, 5, N_Q), "prefix_detached": True},
    "orthogonality": {"orthogonality": 0.7, "orthogonality_chunk": 5},
    "contrast": {"contrast": 0.7, "contrast_similarity": "product"},
    "contrast of a prefix": {"contrast": 0.7, "prefixes": (4, N_Q), "lambda_aux": 0.3, "k_aux": 2},
    "prefixes": {"prefixes": (2, 5, N_Q)},
    "aux": {"lambda_aux": 0.3, "k_aux": 2},
    "aux_input": {"lambda_aux": 0.3, "k_aux": 2, "aux_target": "input"},
    "everything": {"l1": 0.2, "lambda_aux": 0.3, "k_aux": 2, "prefixes": (2, 5, N_Q)},
    "everything_jump": {"l1": 0.2, "l0": 0.4, "lambda_aux": 0.3, "k_aux": 2, "prefixes": (2, 5, N_Q)},
}
DEAD = torch.tensor([0, 3, 8])
FORMS = ("frobenius", "matched", "cosine")


def supported(activation, loss):
    if "l0" in LOSSES[loss]:
        return activation == "jumprelu"
    if activation == "gated":
        return "l1" in LOSSES[loss]
    return loss not in ("multi_k", "hierarchical") or "topk" in activation


CASES = [
    (pair, activation, loss, anchored)
    for pair, activation, loss, anchored in itertools.product(
        ("sae", "transcoder", "crosscoder"),
        ("relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk"),
        LOSSES,
        (False, True),
    )
    if supported(activation, loss)
]


class Case:
    def __init__(self, pair, activation, loss, anchored, **anchoring):
        config = ModelConfig(
            *(pair, activation, N_Q, K if "topk" in activation else None, True),
            init_threshold=0.3,
            bandwidth=2.0,
            skip=pair == "transcoder",
        )
        sites = pair_sites(pair, N_P, N_R)
        generator = torch_stream(3, pair, activation, loss)
        self.model = SparseCoder.from_config(config, *sites, generator).double()
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name == "sigma.threshold":
                    continue
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        n_p, n_r = (sum(widths) for widths in sites)
        self.x_p = torch.randn(B, n_p, generator=generator, dtype=torch.float64)
        self.x_r = self.x_p if pair != "transcoder" else torch.randn(B, n_r, generator=generator, dtype=torch.float64)
        self.anchors = None
        if anchored:
            draws = [torch.randn(2, width, generator=generator, dtype=torch.float64) for width in (n_p, n_r)]
            self.anchors = tuple(torch.nn.functional.normalize(draw) for draw in draws)
        self.config = LossConfig(**LOSSES[loss], lambda_anchor=0.5 if anchored else 0.0, **anchoring)

    def forward(self):
        auxiliary = Auxiliary(DEAD, self.config.k_aux) if self.config.lambda_aux else None
        return self.model(self.x_p, scales_of(self.config, self.model), auxiliary, norms=needs_norms(self.config))

    def inputs(self, **others):
        return TermInputs(self.model, self.x_r, self.forward(), self.config, self.anchors, **others)


def active_sets(activation, z, theta, k):
    """Return which latents fire, sample by sample, by the definitions of section 2.4."""
    if activation in ("relu", "gated"):
        return [[i for i in range(N_Q) if z[b, i] > 0] for b in range(B)]
    if activation == "jumprelu":
        return [[i for i in range(N_Q) if z[b, i] > theta[i]] for b in range(B)]
    if activation == "abstopk":
        return [sorted(range(N_Q), key=lambda i, b=b: -z[b, i].abs())[:k] for b in range(B)]
    if activation == "topk":
        ranked = [sorted(range(N_Q), key=lambda i, b=b: -z[b, i])[:k] for b in range(B)]
    else:
        best = sorted(itertools.product(range(B), range(N_Q)), key=lambda place: -z[place])[: k * B]
        ranked = [[i for c, i in best if c == b] for b in range(B)]
    return [[i for i in ranked[b] if z[b, i] > 0] for b in range(B)]


def reference(case):
    """Return the loss and its gradients, written out without autograd or functions of sdlcore."""
    model, config = case.model, case.config
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    W_E, b_E, W_D, b_D = (parameters[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
    gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
    activation = model.config.activation
    theta = parameters.get("sigma.threshold", torch.zeros(N_Q))
    z = torch.stack([torch.stack([W_E[i] @ case.x_p[b] + b_E[i] for i in range(N_Q)]) for b in range(B)])
    loss = 0.0
    edges = torch.tensor([0, *itertools.accumulate(model.target_sites)])

    def latent(b, i):
        """Return sigma(z) of a latent that fires, and its slope in z."""
        if activation != "gated":
            return z[b, i], 1.0
        scale = parameters["sigma.log_scale"][i].exp()
        magnitude = scale * z[b, i] + parameters["sigma.offset"][i]
        return magnitude.clamp(min=0), scale * (magnitude > 0)

    def to_pre(b, i, slope):
        gradients["W_enc"][i] += slope * case.x_p[b]
        gradients["b_enc"][i] += slope

    def kernel(b, i):
        width = model.sigma.bandwidth
        return (1.0 if abs(z[b, i] - theta[i]) < width / 2 else 0.0) / width

    def to_latent(b, i, slope, fires):
        """Propagate a gradient to latent i of sample b, whether it fires or not: JumpReLU's threshold gets both."""
        if fires:
            to_pre(b, i, slope * latent(b, i)[1])
        if fires and activation == "gated" and latent(b, i)[1] > 0:
            gradients["sigma.log_scale"][i] += slope * latent(b, i)[1] * z[b, i]
            gradients["sigma.offset"][i] += slope
        if activation == "jumprelu":
            gradients["sigma.threshold"][i] += -theta[i] * kernel(b, i) * slope

    def beside(b):
        return b_D + (case.x_p[b] @ parameters["W_skip"] if model.config.skip else 0)

    def scales():
        """Return the sets and the latents that each scale may use."""
        if config.hierarchical:
            return [(active_sets(activation, z, theta, k), N_Q) for k in range(1, K + 1)]
        if config.multi_k:
            return [(active_sets(activation, z, theta, k), N_Q) for k in config.multi_k]
        return [(active_sets(activation, z, theta, K), size) for size in config.prefixes or (N_Q,)]

    share = 1 / K if config.hierarchical else 1.0
    before = 0
    for sets, size in scales():
        for b in range(B):
            error = beside(b) - case.x_r[b]
            for i in sets[b]:
                if i < size:
                    error = error + latent(b, i)[0] * W_D[i]
            loss += share * error @ error / B
            gradients["b_dec"] += 2 * share * error / B
            if model.config.skip:
                gradients["W_skip"] += 2 * share * torch.outer(case.x_p[b], error) / B
            for i in range(before, size):
                if i in sets[b]:
                    gradients["W_dec"][i] += 2 * share * error * latent(b, i)[0] / B
                to_latent(b, i, 2 * share * error @ W_D[i] / B, i in sets[b])
        before = size if config.prefix_detached else 0
    if config.orthogonality:
        unit = [row / row.norm() for row in W_D]
        for members in drawn_chunks(N_Q, config.orthogonality_chunk, 0):
            for i in members.tolist():
                cosine, j = max((float(unit[i] @ unit[j]), j) for j in members.tolist() if j != i)
                if cosine > 0:
                    loss += config.orthogonality * cosine**2 / N_Q
                    for one, other in ((i, j), (j, i)):
                        tangent = (unit[other] - cosine * unit[one]) / W_D[one].norm()
                        gradients["W_dec"][one] += config.orthogonality * 2 * cosine * tangent / N_Q
    sets = active_sets(activation, z, theta, K)
    if config.contrast:
        first = config.prefixes[0] if config.prefixes else N_Q
        codes = [torch.stack([latent(b, i)[0] * (i in sets[b]) for i in range(first)]) for b in range(B)]
        pairs = list(itertools.product(range(B // 2), repeat=2))
        cosine = config.contrast_similarity == "cosine"
        # a token without high-level latents has no direction
        norms = [code.norm() if cosine and code.any() else torch.ones(()) for code in codes]
        S = torch.zeros(B // 2, B // 2, dtype=torch.float64)
        for i, j in pairs:
            S[i, j] = codes[2 * i] @ codes[2 * j + 1] / norms[2 * i] / norms[2 * j + 1]
        rows, columns = S.exp() / S.exp().sum(1, keepdim=True), S.exp() / S.exp().sum(0)
        for i in range(B // 2):
            loss -= config.contrast * (rows[i, i].log() + columns[i, i].log()) / B
        for i, j in pairs:
            slope = config.contrast * (rows[i, j] + columns[i, j] - 2 * (i == j)) / B
            for one, other in ((2 * i, 2 * j + 1), (2 * j + 1, 2 * i)):
                along = codes[other] / norms[one] / norms[other]
                if cosine and codes[one].any():
                    along = along - S[i, j] * codes[one] / norms[one] ** 2
                for latent_index in range(first):
                    to_latent(one, latent_index, slope * along[latent_index], latent_index in sets[one])
    for b in range(B):
        for i in range(N_Q):
            fires = i in sets[b]
            if config.l1:
                parts = [W_D[i, first:last] for first, last in itertools.pairwise(edges)]
                norm = sum(part.norm() for part in parts) * (z[b, i].sign() if activation == "abstopk" else 1)
                p, size = config.l1_exponent_end or 1.0, z[b, i] * norm
                slope = config.l1 * (p * size ** (p - 1) if fires else float(p == 1)) / B
                if activation != "gated":
                    to_latent(b, i, slope * norm, fires)
                elif fires:
                    to_pre(b, i, slope * norm)
                if fires:
                    sign = z[b, i].sign()
                    loss += config.l1 * size**p / B
                    gradients["W_dec"][i] += slope * z[b, i] * torch.cat([sign * part / part.norm() for part in parts])
            if config.l0 and config.l0_form == "tanh":
                parts = [W_D[i, first:last] for first, last in itertools.pairwise(edges)]
                norm = sum(part.norm() for part in parts)
                value = (4 * z[b, i] * fires * norm).tanh()
                slope = config.l0 * 4 * (1 - value**2) / B
                loss += config.l0 * value / B
                to_latent(b, i, slope * norm, fires)
                if fires:
                    gradients["W_dec"][i] += slope * z[b, i] * torch.cat([part / part.norm() for part in parts])
            elif config.l0:
                # quadratic: the derivative of (L0 / target - 1)^2 in L0
                off = len(sets[b]) / config.target_l0 - 1 if config.l0_form == "quadratic" else 0.0
                slope = 2 * off / config.target_l0 if config.l0_form == "quadratic" else 1.0
                if config.l0_form == "quadratic":
                    loss += config.l0 * off**2 / B / N_Q  # once a sample
                else:
                    loss += config.l0 * float(z[b, i] > theta[i]) / B
                gradients["sigma.threshold"][i] += -config.l0 * slope * kernel(b, i) / B
            if config.frequency:
                often = sum(i in each for each in sets) / B
                loss += config.frequency * often * float(fires) / B / 0.1
                to_share = 2 * config.frequency * often / 0.1
                gradients["sigma.threshold"][i] += -to_share * kernel(b, i) / B
        if activation == "gated":
            error = beside(b) - case.x_r[b] + sum(z[b, i] * W_D[i] for i in sets[b])
            loss += error @ error / B
            for i in sets[b]:
                to_pre(b, i, 2 * error @ W_D[i] / B)
        if config.lambda_aux:
            target = case.x_r[b]
            if config.aux_target == "residual":
                target = target - beside(b) - sum(latent(b, i)[0] * W_D[i] for i in sets[b])
            size = z.abs() if activation == "abstopk" else z
            ranked = sorted(DEAD.tolist(), key=lambda i, b=b: -size[b, i])
            chosen = [i for i in ranked[: config.k_aux] if size[b, i] > 0]
            error = sum(z[b, i] * W_D[i] for i in chosen) - target
            loss += config.lambda_aux * error @ error / B
            for i in chosen:
                gradients["W_dec"][i] += 2 * config.lambda_aux * error * z[b, i] / B
                to_pre(b, i, 2 * config.lambda_aux * error @ W_D[i] / B)
    if case.anchors is not None:
        for side, W, w in (("W_enc", W_E, case.anchors[0]), ("W_dec", W_D, case.anchors[1])):
            for i in range(len(w)):
                norm = W[i].norm()
                if config.anchor_form == "cosine":
                    cosine = W[i] @ w[i] / norm
                    loss += config.lambda_anchor * (1 - cosine)
                    gradients[side][i] += config.lambda_anchor * (cosine * W[i] / norm - w[i]) / norm
                else:
                    off = W[i] - (norm if config.anchor_form == "matched" else 1) * w[i]
                    loss += config.lambda_anchor * off @ off
                    gradients[side][i] += 2 * config.lambda_anchor * off
    return loss, gradients


@pytest.mark.parametrize("form", FORMS)
def test_rows_along_their_anchors_are_pulled_by_no_form_but_that_which_knows_a_norm(form):
    case = Case("sae", "topk", "plain", True, anchor_form=form)
    with torch.no_grad():
        for W, w in zip((case.model.W_enc, case.model.W_dec), case.anchors, strict=True):
            W[: len(w)] = 0.2 * w
    total_loss(case.inputs())["anchor"].backward()
    pull = case.model.W_enc.grad.norm().item()
    assert pull == pytest.approx(0 if form != "frobenius" else 2 * 0.8 * 2**0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("pair", "activation", "loss", "anchored", "form"),
    [(*case, "frobenius") for case in CASES]
    + [(pair, "topk", "plain", True, form) for pair in ("sae", "transcoder", "crosscoder") for form in FORMS[1:]],
)
def test_loss_and_gradients_equal_the_reference(pair, activation, loss, anchored, form, monkeypatch):
    case = Case(pair, activation, loss, anchored, anchor_form=form)
    expected, gradients = reference(case)
    # with so few latents the active share is large, so dense products would be chosen
    for share, how in ((1.0, "by the sparse kernels"), (0.0, "by dense products")):
        monkeypatch.setattr(products, "DENSE", share)
        case.model.zero_grad()
        exponent = case.config.l1_exponent_end or 1.0
        terms = total_loss(case.inputs(exponent=exponent))
        terms["loss"].backward()
        torch.testing.assert_close(terms["loss"].item(), float(expected), rtol=1e-10, atol=0, msg=how)
        for name, parameter in case.model.named_parameters():
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-9, atol=1e-11, msg=f"{name} {how}")


def test_terms_are_reported_unweighted_and_warm_up_scales_penalties_only():
    case = Case("sae", "jumprelu", "everything_jump", True)
    out = case.forward()
    terms = total_loss(TermInputs(case.model, case.x_r, out, case.config, case.anchors), penalty=0.25)
    expected = terms["multi_scale"] + 0.25 * (0.2 * terms["l1"] + 0.4 * terms["l0_penalty"])
    expected = expected + 0.3 * terms["aux"] + 0.5 * terms["anchor"]
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["l0_penalty"].item() == (out.values != 0).sum().item() / B


@pytest.mark.parametrize(("pair", "n_r"), [("sae", N_P), ("transcoder", N_R), ("crosscoder", N_P + N_R)])
def test_a_mean_loss_divides_squared_errors_by_the_dimension_and_nothing_else(pair, n_r):
    case = Case(pair, "gated", "everything", True, loss_scale="mean")
    terms = total_loss(case.inputs())
    errors = terms["multi_scale"] + terms["gate"] + 0.3 * terms["aux"]
    torch.testing.assert_close(terms["loss"], errors / n_r + 0.2 * terms["l1"] + 0.5 * terms["anchor"])
    summed = Case(pair, "gated", "everything", True)
    others = total_loss(summed.inputs())
    torch.testing.assert_close(terms["reconstruction"], others["reconstruction"])


def test_partly_released_anchors_are_reported_and_weigh_less():
    case = Case("sae", "topk", "plain", True)
    terms = total_loss(case.inputs(), anchoring=0.25)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.25 * 0.5 * terms["anchor"])


class Detached(Activation):
    def forward(self, pre):
        return (pre > 0).to(pre.dtype)


class DetachedWithGates(Detached):
    def gates(self, pre):
        return pre.relu()


@pytest.mark.usefixtures("registry")
def test_latents_without_a_gradient_are_refused_unless_gates_carry_one_or_the_encoder_is_frozen():
    def loss(base, **settings):
        activation("own")(type("Own", (base,), {"__module__": __name__}))
        model = SparseCoder.from_config(ModelConfig("sae", "own", N_Q, **settings), (N_P,), (N_P,), torch.Generator())
        x = torch.randn(B, N_P)
        return total_loss(TermInputs(model, x, model(x), LossConfig()))["loss"]

    with pytest.raises(ValueError, match="activation own returned latents without a gradient"):
        loss(Detached)
    loss(DetachedWithGates).backward()
    loss(Detached, frozen="encoder", bias=False).backward()
