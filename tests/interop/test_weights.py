"""Imported weights, compared with the other libraries' own formulas: latent by latent, in float64."""

import math
from dataclasses import replace

import pytest
import torch

from sdlcore.interop.weights import InteropWeights, sparse_coder
from sdlcore.model.saving import load_model, save_model

N, N_Q, K = 7, 12, 3


def drawn(seed, activation, shifted):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    b_dec = normal(N)
    parts = {
        # some below zero
        "jumprelu": {"threshold": 0.5 * normal(N_Q)},
        "batchtopk": {"threshold": torch.tensor(0.4 if seed else -1.0, dtype=torch.float64)},
        "gated": {"log_scale": 0.3 * normal(N_Q), "b_magnitude": normal(N_Q)},
    }.get(activation, {})
    shift = b_dec if shifted else torch.zeros(N)
    weights = InteropWeights(normal(N_Q, N), normal(N_Q), normal(N_Q, N), b_dec, shift, **parts)
    return weights, normal(20, N)


def reference(weights, x, activation, rescaled):
    """Return latents and reconstruction of one sample."""
    w = {name: value.double().tolist() for name, value in vars(weights).items() if value is not None}
    norms = [math.hypot(*row) if rescaled else 1.0 for row in w["W_dec"]]
    inputs = [a - b for a, b in zip(x.tolist(), w["shift"], strict=True)]
    products = [sum(a * b for a, b in zip(row, inputs, strict=True)) for row in w["W_enc"]]
    pre = [(product + b) * norm for product, b, norm in zip(products, w["b_enc"], norms, strict=True)]
    latents = [max(z, 0.0) for z in pre]
    if activation == "topk":
        least = sorted(pre)[-K]
        latents = [value if z >= least else 0.0 for value, z in zip(latents, pre, strict=True)]
    elif activation == "batchtopk":
        latents = [value if value > w["threshold"] else 0.0 for value in latents]
    elif activation == "jumprelu":
        latents = [value if z > bound else 0.0 for value, z, bound in zip(latents, pre, w["threshold"], strict=True)]
    elif activation == "gated":
        for i, (product, z) in enumerate(zip(products, pre, strict=True)):
            magnitude = math.exp(w["log_scale"][i]) * product + w["b_magnitude"][i]
            latents[i] = max(magnitude, 0.0) if z > 0 else 0.0
    scaled = [value / norm for value, norm in zip(latents, norms, strict=True)]
    x_hat = [sum(v * row[d] for v, row in zip(scaled, w["W_dec"], strict=True)) + w["b_dec"][d] for d in range(N)]
    return latents, x_hat


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize(
    ("activation", "rescaled"),
    [("relu", False), ("topk", False), ("topk", True), ("batchtopk", True), ("jumprelu", False), ("gated", False)],
)
def test_latents_and_reconstructions_are_those_of_the_library(activation, rescaled, shifted, seed, tmp_path):
    weights, x = drawn(seed, activation, shifted)
    selects = activation in ("topk", "batchtopk")
    model = sparse_coder(weights.by_decoder_norms() if rescaled else weights, activation, K if selects else None)
    save_model(tmp_path / "model.safetensors", model, {})
    out = load_model(tmp_path / "model.safetensors")(x)
    latents, x_hat = zip(*(reference(weights, row, activation, rescaled) for row in x), strict=True)
    assert torch.allclose(out.latents().double(), torch.tensor(latents, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(out.x_hat.double(), torch.tensor(x_hat, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_rescaled_in_full(dtype):
    weights, _ = drawn(1, "topk", True)
    half = replace(weights, **{name: value.to(dtype) for name, value in vars(weights).items() if value is not None})
    whole = replace(half, **{name: value.float() for name, value in vars(half).items() if value is not None})
    for name, value in vars(whole.by_decoder_norms()).items():
        if value is not None:
            assert torch.equal(getattr(half.by_decoder_norms(), name).float(), value)


def test_a_coder_keeps_its_weights_when_the_library_changes_its_tensors():
    weights, x = drawn(1, "relu", True)
    model = sparse_coder(weights, "relu", None)
    before = model(x).x_hat
    weights.W_dec.mul_(2)
    weights.b_dec.add_(1)
    assert torch.equal(model(x).x_hat, before)
