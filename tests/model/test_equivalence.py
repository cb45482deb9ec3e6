"""Every method's fast path computes the same latents, reconstructions and gradients as its dense definition.

`sdl.check_method` compares them on the CPU, with training, saving, resuming and export. The tests below compare the
same cases on other kernels.
"""

from typing import get_args

import pytest
import torch

import sdlcore as sdl
from sdlcore.config import SELECTING, ActivationName, Config
from sdlcore.fitting import method_checks as checks
from sdlcore.fitting.method_checks import BATCHES, N_Q, K, assert_close, forward_and_backward, without_search
from sdlcore.model.encoding import Scales
from sdlcore.plugins.importing import load_plugins
from sdlcore.sparse.kernels.interface import Kernels
from tests.conftest import REPOSITORY, registering

OURS = get_args(ActivationName)
PLUGINS = {
    "soft_topk": REPOSITORY / "examples/new_method/my_method.py",
    "topk_ista": REPOSITORY / "examples/dense_method/topk_ista.py",
    "squared_topk": REPOSITORY / "examples/dense_method/squared_topk.py",
    "fast_squared_topk": REPOSITORY / "examples/dense_method/squared_topk.py",
    "near_largest": REPOSITORY / "tests/model/near_largest.py",
}
SEARCHED = [*OURS, *(name for name in PLUGINS if name not in ("topk_ista", "squared_topk"))]
"""Methods that declare a search."""
SETTINGS = {
    **{name: {"l1": 0.1} for name in ("relu", "gated", "near_largest")},
    "jumprelu": {"l0": 0.1, "init_threshold": 0.3, "bandwidth": 2.0},
    "lista": {"ista_step": 0.3},
    "matching_pursuit": {"tied": True, "decoder_norm": "unit"},
}
"""Settings that methods need beside the defaults of `check_method`."""


@pytest.fixture(autouse=True, scope="module")
def plugins():
    with registering():
        load_plugins([str(path) for path in sorted(set(PLUGINS.values()))])
        yield


def example_model(name, batch, rows=8):
    """Return a model, samples that produce the batch's pre-activations, targets and settings."""
    keeps_k = name in SELECTING or name.endswith("topk") or name == "topk_ista"
    k = {"k": N_Q if batch == "all latents" else K} if keeps_k else {}
    config = Config.from_dict({"activation": name, "n_q": N_Q, "bias": True, "l1": 0.1, **k, **SETTINGS.get(name, {})})
    return *checks.example_model(config, batch, rows), config


@pytest.mark.parametrize("name", [*OURS, *PLUGINS])
def test_every_method_passes_all_checks(name):
    results = sdl.check_method(name, **SETTINGS.get(name, {}))
    assert results["definition"] == results["resuming"] == results["export to saelens"] == "passed"
    assert all(result == "passed" or "cannot express" in result for result in results.values())


# torch's operators keep any of several equal entries
@pytest.mark.parametrize("batch", [batch for batch in BATCHES if batch != "ties"])
@pytest.mark.parametrize("name", SEARCHED)
def test_torchs_operators_compute_the_definition(name, batch):
    model, x, target, config = example_model(name, batch)
    dense = without_search(model)
    assert_close(
        forward_and_backward(model, x, target, config, Kernels()), forward_and_backward(dense, x, target, config)
    )


@pytest.mark.parametrize("name", ["topk_ista", "squared_topk"])
@pytest.mark.parametrize("terms", [{"prefixes": (4, 16)}, {"lambda_aux": 0.1, "k_aux": 2, "dead_after": 100}])
def test_a_method_without_a_search_has_prefixes_and_auxiliary_latents(name, terms):
    sdl.check_method(name, n_q=16, **terms)


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [("multi_k", {"scales": Scales(multi_k=(1, 2))}), ("precision", {"precision": torch.bfloat16})],
)
def test_settings_that_need_a_search_are_refused_without_one(setting, arguments):
    model, x, *_ = example_model("squared_topk", "random")
    with pytest.raises(
        ValueError, match=f"squared_topk declares no search, which {setting} needs; leave {setting} out"
    ):
        model(x, **arguments)


class WrongValues(sdl.TopK):
    """A class whose values are not those of its forward."""

    def forward(self, pre):
        return super().forward(pre) * 2

    def values(self, pre, support):
        return super().values(pre, support) * 3


class WrongGradient(sdl.TopK):
    """A class whose values are right, and their gradients too large."""

    def values(self, pre, support):
        values = super().values(pre, support)
        return 2 * values - values.detach()

    def forward(self, pre):
        return super().forward(pre)


class Forgetful(sdl.TopK):
    """A class that counts its passes, and saves the count nowhere."""

    passes = 0

    def forward(self, pre):
        self.passes += self.training
        return super().forward(pre) / (1 + self.passes)

    def search(self):
        return None


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (WrongValues, "definition: activation wrong, batch random, training mode: latents of the search differs"),
        (WrongGradient, "definition: activation wrong, batch random, training mode: W_enc of the search differs"),
        (Forgetful, "(encoding|resuming): .*wrong"),
    ],
)
def test_check_method_names_the_check_that_a_wrong_method_fails(registry, method, message):
    sdl.activation("wrong")(method)
    with pytest.raises(AssertionError, match=message):
        sdl.check_method("wrong")
