"""Losses of a tiny Llama with reconstructions spliced into it."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import LanguageSource, Site
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.models import load_any
from sdlcore.extraction.tokens import KINDS, RowKinds, Tokens
from sdlcore.inside.score import LossRecovered, losses_recovered, mean_of
from sdlcore.random_streams import stream
from tests.extraction.tiny_llama import save_tiny_llama
from tests.extraction.tiny_models import CONFIGURATIONS, make
from tests.stores import write_store

D, T, SEPARATOR = 24, 12, 0
EVERYTHING = RowKinds(SEPARATOR, {}, ())
ALL_DROPPED = RowKinds(SEPARATOR, {"input": 1e9}, KINDS[1:])
SOURCES = {
    "residual": LanguageSource("model", "text", layer=2),
    "mlp": LanguageSource("model", "text", layer=2, site="mlp"),
    "layers": LanguageSource("model", "text", layers=(1, 3)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_any(save_tiny_llama(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def contexts() -> list[Tokens]:
    rng = stream(0, "contexts")
    token_rows = []
    for _ in range(6):
        ids = rng.integers(2, 200, size=T)
        ids[5] = SEPARATOR
        token_rows.append(Tokens(ids, np.zeros(T, int), np.arange(T), np.zeros(T, int)))
    return token_rows


def loss_recovered(model: Any, reconstruct: Callable[[torch.Tensor], torch.Tensor], *arguments: Any) -> LossRecovered:
    return losses_recovered(model, {"one": reconstruct}, *arguments)["one"]


def sites(name: str) -> dict[str, Site]:
    return SOURCES[name].sites


def test_a_model_in_training_mode_is_measured_without_dropout():
    lm = make("gpt2").train()
    few = [Tokens(np.arange(3, 3 + T), np.zeros(T, int), np.arange(T), np.zeros(T, int))]
    reading = (few, sites("residual"), "sae", EVERYTHING, torch.zeros(16))
    loss = loss_recovered(lm, torch.zeros_like, *reading)
    assert lm.training
    assert all(module.training for module in lm.modules())
    assert loss == loss_recovered(lm.eval(), torch.zeros_like, *reading)


def librarys_loss(model: LlamaForCausalLM, contexts: list[Tokens]) -> float:
    ids = torch.from_numpy(np.stack([context.token for context in contexts]))
    with torch.inference_mode():
        return float(model(ids, labels=ids).loss)


def test_the_clean_loss_is_the_librarys(model: Any, contexts: list[Tokens]):
    loss = loss_recovered(model, lambda x: x, contexts, sites("residual"), "sae", ALL_DROPPED, torch.zeros(D))
    assert loss.clean == pytest.approx(librarys_loss(model, contexts), rel=1e-6)
    assert loss.predictions == 6 * (T - 1)
    assert loss.replaced == (T - 2) / T


@pytest.mark.parametrize(("name", "kinds"), [("residual", EVERYTHING), ("mlp", ALL_DROPPED), ("layers", EVERYTHING)])
def test_identity_changes_nothing_and_ablation_does(name: str, kinds: RowKinds, model: Any, contexts: list[Tokens]):
    mean = torch.full((D,), 0.1)
    loss = loss_recovered(model, lambda x: x.clone(), contexts, sites(name), "sae", kinds, mean)
    assert loss.spliced == loss.clean
    assert loss.recovered_zero == loss.recovered_mean == loss.kl_recovered_zero == loss.kl_recovered_mean == 1
    assert loss.kl_spliced == 0
    assert min(loss.kl_zero, loss.kl_mean) > 1e-4
    assert abs(loss.mean - loss.clean) > 1e-3
    assert abs(loss.zero - loss.clean) > 1e-3
    assert loss.mean != loss.zero


def test_divergences_are_those_of_the_librarys_logits(model: Any, contexts: list[Tokens]):
    loss = loss_recovered(model, torch.zeros_like, contexts, sites("residual"), "sae", EVERYTHING, torch.ones(D))
    ids = torch.from_numpy(np.stack([context.token for context in contexts]))
    with torch.inference_mode():
        clean = model(ids).logits[:, :-1].double().log_softmax(-1)
        handle = model.model.layers[1].register_forward_hook(lambda *args: torch.zeros_like(args[-1]))
        zero = model(ids).logits[:, :-1].double().log_softmax(-1)
        handle.remove()
    expected = torch.nn.functional.kl_div(zero, clean, log_target=True, reduction="sum") / ids[:, 1:].numel()
    # float32 logits: errors of some 2^-24 in log probabilities of about 10, over sums of probabilities
    assert loss.kl_zero == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
    assert loss.kl_spliced == loss.kl_zero
    assert loss.kl_recovered_zero == 0


def test_a_model_that_caps_its_logits_is_measured_with_the_cap(contexts: list[Tokens]):
    capped = make("gemma2")
    capped.config.final_logit_softcapping = 0.5
    few = [tokens._replace(token=tokens.token % 60) for tokens in contexts]
    loss = loss_recovered(capped, lambda x: x, few, sites("residual"), "sae", EVERYTHING, torch.zeros(16))
    assert loss.clean == pytest.approx(librarys_loss(capped, few), rel=1e-5)


def test_a_transcoder_reads_the_input_and_writes_the_target(model: Any, contexts: list[Tokens]):
    mlp = copy.deepcopy(model.model.layers[1].mlp)
    loss = loss_recovered(model, mlp, contexts, sites("mlp"), "transcoder", ALL_DROPPED, torch.zeros(D))
    assert loss.spliced == pytest.approx(loss.clean, abs=1e-5)
    assert abs(loss.zero - loss.clean) > 1e-3


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_blocks_before_the_site_run_once_with_the_same_losses(name: str, monkeypatch: pytest.MonkeyPatch):
    lm = make(name)
    few = [Tokens(np.arange(3, 3 + T), np.zeros(T, int), np.arange(T), np.zeros(T, int))] * 2
    reading = (few, sites("residual"), "sae", EVERYTHING, torch.ones(16))
    runs: list[int] = []
    first = Stack.of(lm).blocks[0]
    with monkeypatch.context() as patched:
        patched.setattr(first, "forward", lambda *a, __forward=first.forward, **k: runs.append(1) or __forward(*a, **k))
        once = loss_recovered(lm, lambda x: x / 2, *reading)
        assert len(runs) == len(few)
    assert "forward" not in vars(first)
    monkeypatch.setattr(Stack, "repeating", lambda *_: nullcontext())
    assert loss_recovered(lm, lambda x: x / 2, *reading) == once


def test_every_block_runs_if_later_blocks_read_keys_of_earlier_ones(model: Any):
    shared = copy.deepcopy(model)
    shared.config.num_kv_shared_layers = 1
    with Stack.of(shared).recording(1) as outputs:
        shared(torch.arange(4)[None])
    assert outputs == []


def test_dropped_rows_stay_clean(model: Any, contexts: list[Tokens]):
    """What the dictionary is given never holds a row that extraction drops, and those rows reach the next block."""
    inputs: list[torch.Tensor] = []

    def zero(x: torch.Tensor) -> torch.Tensor:
        inputs.append(x)
        return torch.zeros_like(x)

    def by_hand(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        changed = torch.zeros_like(output)
        changed[:, [0, 5]] = output[:, [0, 5]]
        return changed

    loss = loss_recovered(model, zero, contexts, sites("residual"), "sae", ALL_DROPPED, torch.zeros(D))
    assert [len(x) for x in inputs] == [T - 2] * 6
    handle = model.model.layers[1].register_forward_hook(by_hand)
    assert loss.spliced == loss.zero == pytest.approx(librarys_loss(model, contexts), rel=1e-6)
    handle.remove()


def test_outliers_by_the_norm_of_the_extraction_stay_clean(model: Any, contexts: list[Tokens]):
    none_kept = RowKinds(SEPARATOR, {"input": 0.0}, ("outlier",))
    loss = loss_recovered(model, torch.zeros_like, contexts, sites("residual"), "sae", none_kept, torch.zeros(D))
    assert loss.replaced == 0
    assert loss.spliced == loss.clean == loss.zero
    assert loss.recovered_zero is None
    assert loss.kl_recovered_zero is None


def test_bfloat16_models_take_float32_reconstructions(model: Any, contexts: list[Tokens], tmp_path: Path):
    model.save_pretrained(tmp_path)
    low = load_any(tmp_path, "bfloat16")
    loss = loss_recovered(low, lambda x: x + 0, contexts, sites("residual"), "sae", EVERYTHING, torch.zeros(D))
    assert loss.spliced == loss.clean


def test_a_crosscoder_and_no_contexts_are_refused(model: Any, contexts: list[Tokens]):
    with pytest.raises(ValueError, match="a crosscoder's reconstruction cannot be spliced in"):
        loss_recovered(model, lambda x: x, contexts, sites("layers"), "crosscoder", EVERYTHING, torch.zeros(D))
    with pytest.raises(ValueError, match="no context"):
        loss_recovered(model, lambda x: x, [], sites("residual"), "sae", EVERYTHING, torch.zeros(D))


def test_the_mean_is_that_of_all_rows(tmp_path: Path):
    x = stream(0, "x").normal(3, 1, size=(9000, 5)).astype(np.float32)
    write_store(tmp_path / "a.h5", x)
    with ActivationStore(tmp_path / "a.h5") as store:
        np.testing.assert_allclose(mean_of(store, "input"), x.mean(0, dtype=float), rtol=1e-6)
