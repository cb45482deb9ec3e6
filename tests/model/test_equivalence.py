"""Every method's fast path computes the same latents, reconstructions and gradients as its dense definition.

The samples are unit vectors, so each pre-activation equals a weight to the bit. Both paths then see the same numbers,
and ties are ties. The remaining differences are sums of at most 100 products, each below 10, in another order. Such
sums differ by at most 2 x 101 eps times the sum of their sizes (Higham 2002, section 3.1), 2.4e-2 in float32 if all
errors add up. Independent errors are a hundredth of that, and the tests allow 1e-4.
"""

import copy
import sys
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import Activation, Config, ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Scales
from sdlcore.model.losses.total import needs_norms, total_loss
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.plugins import registry
from sdlcore.plugins.importing import load_plugins
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.kernels.torch_kernels import TorchKernels
from sdlcore.sparse.products import WEIGHTS
from sdlcore.training.distributed import divide
from sdlcore.training.step import TrainingStep
from tests.conftest import REPOSITORY
from tests.parallel.threads import together

OURS = get_args(Activation)
PLUGINS = {
    "soft_topk": REPOSITORY / "examples/new_method/my_method.py",
    "topk_ista": REPOSITORY / "examples/dense_method/topk_ista.py",
    "squared_topk": REPOSITORY / "examples/dense_method/squared_topk.py",
    "fast_squared_topk": REPOSITORY / "examples/dense_method/squared_topk.py",
    "near_largest": REPOSITORY / "tests/model/near_largest.py",
}
SEARCHED = [*OURS, *(name for name in PLUGINS if name not in ("topk_ista", "squared_topk"))]
"""Methods that declare a search."""
N_Q, K = 12, 3
BATCHES = ["random", "ties", "nothing positive", "all positive", "one sample", "all latents"]
WHOLE = ("near_largest", "lista", "matching_pursuit")
"""Methods that compare or decode the latents of a sample, of which a process would have a part."""
WITHOUT_K = ("relu", "jumprelu", "gated", "near_largest")


@pytest.fixture(autouse=True, scope="module")
def plugins():
    """Import the plugins once, and unregister them after the last test."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
        patch.setattr(registry, "_UNNAMED", set(registry._UNNAMED))
        patch.setattr(sys, "path", list(sys.path))
        load_plugins([str(path) for path in sorted(set(PLUGINS.values()))])
        yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) in map(str, PLUGINS.values()):
            del sys.modules[name]


def pre_activations(batch: str, rows: int = 8) -> torch.Tensor:
    """Return the pre-activations of a batch, B x n_q."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1 if batch == "one sample" else rows, N_Q, generator=generator)
    if batch == "ties":
        return torch.randint(-2, 4, z.shape, generator=generator).float()
    return {"nothing positive": -1 - z.abs(), "all positive": 0.5 + z.abs()}.get(batch, z)


def settings(name: str, batch: str) -> Config:
    items = {"activation": name, "n_q": N_Q, "bias": True, "init_threshold": 0.3, "bandwidth": 2.0, "ista_step": 0.3}
    if name == "matching_pursuit":
        items |= {"tied": True, "decoder_norm": "unit"}
    if name not in WITHOUT_K:
        items["k"] = N_Q if batch == "all latents" else K
    items["l0" if name == "jumprelu" else "l1"] = 0.1
    return Config.from_dict(items)


def case(name: str, batch: str, rows: int = 8) -> tuple[SparseCoder, torch.Tensor, torch.Tensor, Config]:
    """Return a model, samples that produce the batch's pre-activations, targets and settings."""
    config, z = settings(name, batch), pre_activations(batch, rows)
    x = torch.eye(len(z))
    generator = torch.Generator().manual_seed(1)
    model = SparseCoder.from_config(config.model, (len(z),), (len(z),), generator).train()
    with torch.no_grad():
        model.W_enc.copy_(z.T)
        for parameter in model.sigma.parameters():
            parameter.add_(0.2 * torch.rand(parameter.shape, generator=generator))
    if name == "matching_pursuit":
        model.constrain()  # else residuals grow from step to step
    return model, x, torch.randn(x.shape, generator=generator), config


def passed(model, x, target, config, kernels=None, processes=ALONE):
    """Return latents, reconstruction, and gradients of a loss with everything that a method adds to it."""
    out = model(x, norms=needs_norms(config), kernels=kernels)
    total_loss(model, target, out, config)["loss"].backward()
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    return {"latents": out.latents().detach(), "x_hat": out.x_hat.detach(), **gradients, **dict(model.named_buffers())}


def densely(model):
    """Return the same model with an activation that declares no search."""
    model = copy.deepcopy(model)
    model.sigma.search = lambda: None
    return model


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, rtol=0, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


# of equal products after the first step of a pursuit, rounding decides
@pytest.mark.parametrize(
    ("name", "batch"), [case for case in product(SEARCHED, BATCHES) if case != ("matching_pursuit", "ties")]
)
@pytest.mark.parametrize("training", [True, False])
def test_the_fast_path_computes_the_definition(name, batch, training):
    model, x, target, config = case(name, batch)
    for buffer_name, buffer in model.sigma.named_buffers():
        if buffer_name.endswith("threshold"):
            buffer.fill_(0.4)  # as after some batches of training
    model.train(training)
    dense = densely(model)
    actual, expected = passed(model, x, target, config, NumbaKernels()), passed(dense, x, target, config)
    if not training:  # JumpReLU's search then omits entries that only its threshold's gradient needs
        actual, expected = ({name: each[name] for name in ("latents", "x_hat")} for each in (actual, expected))
    assert_equal(actual, expected)


def encoded(encode, model, x, weights):
    """Return latents, gradients of their weighted sum, and buffers."""
    model, x = copy.deepcopy(model), x.clone().requires_grad_()
    latents = encode(model, x)
    if latents.requires_grad:
        (latents * weights).sum().backward()
    gradients = {name: p.grad for name, p in [("x", x), *model.named_parameters()] if p.grad is not None}
    return {"latents": latents.detach(), **gradients, **dict(model.named_buffers())}


# `encode` uses the definition for up to 16 samples, and oneDNN from 4 samples on if there are enough weights
@pytest.mark.parametrize("weights", [WEIGHTS, 0])
@pytest.mark.parametrize(
    ("name", "batch"),
    [case for case in product([*OURS, *PLUGINS], ["random", "ties"]) if case != ("matching_pursuit", "ties")],
)
@pytest.mark.parametrize("training", [True, False])
def test_any_number_of_samples_is_encoded_as_by_forward(name, batch, training, weights, monkeypatch):
    monkeypatch.setattr("sdlcore.sparse.products.WEIGHTS", weights)
    model, x, _, _ = case(name, batch, rows=17)
    if name == "batchtopk":
        model.sigma.threshold.fill_(0.4)  # as after some batches of training
    model.b_enc.data.copy_(torch.arange(N_Q) % 3 - 1)  # whole numbers, so that ties stay ties
    model.train(training)
    factors = torch.randn(len(x), N_Q, generator=torch.Generator().manual_seed(2))
    for n in (1, 2, 3, 4, 8, 16, 17):
        actual = encoded(SparseCoder.encode, model, x[:n], factors[:n])
        expected = encoded(lambda model, x: model(x).latents(), model, x[:n], factors[:n])
        assert torch.equal(actual["latents"] != 0, expected["latents"] != 0)
        if training or name != "jumprelu":  # whose search omits entries that only the threshold's gradient needs
            assert_equal(actual, expected)
        torch.testing.assert_close(actual["latents"], expected["latents"], rtol=0, atol=1e-4)
        matrix = copy.deepcopy(model).encode_csr(x[:n])
        assert matrix.nnz == (actual["latents"] != 0).sum()
        np.testing.assert_array_equal(matrix.toarray(), actual["latents"])


# torch's operators keep any of several equal entries
@pytest.mark.parametrize("batch", [batch for batch in BATCHES if batch != "ties"])
@pytest.mark.parametrize("name", SEARCHED)
def test_torchs_operators_compute_the_definition(name, batch):
    model, x, target, config = case(name, batch)
    dense = densely(model)
    assert_equal(passed(model, x, target, config, TorchKernels()), passed(dense, x, target, config))


@pytest.mark.parametrize(
    "batch", [BATCHES[0], *(pytest.param(batch, marks=pytest.mark.kernels) for batch in BATCHES[1:])]
)
@pytest.mark.parametrize("name", [name for name in OURS if name != "matching_pursuit"])  # uses no kernel
def test_tritons_kernels_compute_the_definition(name, batch):
    pytest.importorskip("triton", reason="Triton has no package for this system")
    from sdlcore.sparse.kernels.triton_kernels import TritonKernels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, x, target, config = case(name, batch)
    model, x, target = model.to(device), x.to(device), target.to(device)
    dense = densely(model)
    assert_equal(passed(model, x, target, config, TritonKernels()), passed(dense, x, target, config))


# Of equal entries in a batch, BatchTopK keeps the first process's.
@pytest.mark.parametrize(
    ("name", "batch"),
    [
        (name, batch)
        for name in SEARCHED
        for batch in BATCHES
        if name not in WHOLE and (name, batch) != ("batchtopk", "ties")
    ],
)
def test_two_processes_with_half_of_the_latents_each_compute_the_definition(name, batch):
    model, x, target, config = case(name, batch)
    expected = passed(densely(model), x, target, config)

    def work(group):
        mine = copy.deepcopy(model)
        divide(mine, Processes(latents=group))
        return passed(mine, x, target, config)

    first, second = together(2, work)
    for key in [*model.latent_names, "latents"]:
        first[key] = torch.cat([first[key], second[key]], dim=1 if key == "latents" else 0)
    assert_equal(first, expected)


@pytest.mark.parametrize("name", SEARCHED)
def test_two_processes_with_half_of_the_samples_each_compute_the_definition(name):
    model, x, target, config = case(name, "random")
    expected = passed(densely(model), x, target, config)

    def work(group):
        mine = copy.deepcopy(model)
        divide(mine, Processes(samples=group))
        part = group.part(len(x))
        return passed(mine, x[part], target[part], config)

    first, second = together(2, work)
    parameters = [name for name, _ in model.named_parameters()]
    for key in first:
        if key in ("latents", "x_hat"):
            first[key] = torch.cat([first[key], second[key]])
        elif key in parameters:
            first[key] = (first[key] + second[key]) / 2
    assert_equal(first, expected)


@pytest.mark.parametrize("name", ["topk_ista", "squared_topk"])
def test_a_method_without_a_search_trains_and_encodes(name):
    x = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    how = {"activation": name, "k": 3, "n_q": 16, "steps": 30, "batch_size": 50, "progress": False, "bias": True}
    for terms in ({}, {"prefixes": (4, 16)}, {"lambda_aux": 0.1, "k_aux": 2, "dead_after": 100}):
        dictionary = sdl.fit(x, **how, **terms)
        latents = dictionary.encode(x)
        assert latents.shape == (300, 16)
        assert ((latents > 0).sum(1) <= 3).all()
        assert np.isfinite(dictionary.reconstruct(x)).all()


def test_the_dense_example_and_the_one_with_a_search_are_one_method():
    fast, x, target, config = case("fast_squared_topk", "random")
    dense, *_ = case("squared_topk", "random")
    dense.load_state_dict(fast.state_dict())
    assert_equal(passed(fast, x, target, config), passed(dense, x, target, config))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scales": Scales(multi_k=(1, 2))}, "squared_topk declares no search, which multi_k needs to rank latents"),
        ({"precision": torch.bfloat16}, "activation squared_topk declares no search, so precision cannot speed up"),
    ],
)
def test_what_needs_a_search_is_refused_where_none_is_declared(how, message):
    model = SparseCoder.from_config(ModelConfig(activation="squared_topk", n_q=6, k=2), (4,), (4,))
    with pytest.raises(ValueError, match=message):
        model(torch.eye(4), **how)


def test_the_hierarchical_loss_is_refused_without_a_search():
    config = Config.from_dict({"activation": "squared_topk", "n_q": 6, "k": 2, "hierarchical": True})
    with pytest.raises(ValueError, match="declares no search, which hierarchical needs to rank latents"):
        TrainingStep(SparseCoder.from_config(config.model, (4,), (4,)), config)(torch.eye(4), torch.eye(4))


def test_latents_of_a_method_without_a_search_are_not_divided():
    model = SparseCoder.from_config(ModelConfig(activation="squared_topk", n_q=6, k=2), (4,), (4,))

    def work(group):
        mine = copy.deepcopy(model)
        divide(mine, Processes(latents=group))
        return mine(torch.eye(4))

    with pytest.raises(ValueError, match="activation squared_topk declares no search, so latents cannot be divided"):
        together(2, work)
