"""Results of plugins' activation methods are checked before kernels use them."""

import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.activations.jumprelu import JumpReLU
from sdlcore.model.activations.registry import activation
from sdlcore.model.activations.relu import ReLU
from sdlcore.model.activations.topk import TopK
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse.search import Above

pytestmark = pytest.mark.usefixtures("registry")
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def coder(base, **methods):
    """Return a model whose activation has some methods of its own."""
    activation("own")(type("Own", (base,), {"__module__": __name__, **methods}))
    config = ModelConfig("sae", "own", 8, 2 if base is TopK else None)
    return SparseCoder.from_config(config, (6,), (6,), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("base", [TopK, JumpReLU])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda values, support: values[:3], r"Tensor of shape \(3,\) and type float32, expected Tensor of shape"),
        (lambda values, support: values.double(), "Tensor of shape .* and type float64, expected"),
        (lambda values, support: support.dense(values), r"Tensor of shape \(5, 8\) and type float32, expected"),
        (lambda values, support: values - 2, r"-\d\S*, expected none below zero"),
    ],
)
def test_values_are_an_entry_for_each_preactivation(base, changed, message):
    model = coder(base, values=lambda self, pre, support: changed(torch.relu(pre), support))
    with pytest.raises(ValueError, match=f"activation own returned {message}"):
        model(X)


@pytest.mark.parametrize(
    ("search", "message"),
    [(Above(torch.zeros(3)), r"bounds are Tensor of shape \(3,\) .*, expected one for each of 8 latents")],
)
def test_a_search_has_a_bound_for_each_latent(search, message):
    model = coder(ReLU, search=lambda self: search)
    with pytest.raises(ValueError, match=message):
        model(X)


def test_latents_below_zero_are_refused_unless_the_class_says_that_they_are_signed():
    coder(TopK, forward=lambda self, pre: pre / 2, signed=True)(X)
    with pytest.raises(ValueError, match=r"activation own returned -.*, expected none below zero; clamp it"):
        coder(TopK, forward=lambda self, pre: pre / 2)(X)


def parameter(values):
    """Return a constructor that gives an activation a parameter."""

    def constructor(self, n_q):
        ReLU.__init__(self)
        self.own = torch.nn.Parameter(values(n_q))

    return constructor


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n_q: torch.zeros(()), r"must have an element .* 8 latents .*, found shape \(\)"),
        (lambda n_q: torch.zeros(3), r"must have an element .* 8 latents .*, found shape \(3,\)"),
        (torch.ones, "must have .* all 0, .*; return another start from initial"),
    ],
)
def test_a_parameter_has_an_element_for_each_latent_and_its_initial_value(values, message):
    with pytest.raises(ValueError, match=f"activation own: parameter own {message}"):
        coder(ReLU, __init__=parameter(values))
    coder(ReLU, __init__=parameter(torch.zeros))
    coder(ReLU, __init__=parameter(torch.ones), initial=lambda self, name: 1.0)
