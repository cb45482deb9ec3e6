"""Dictionaries in tiny language models: what a splice and its edits do to the logits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.errors import SourceError
from sdlcore.inside.splice import ablate, splice, steer
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.extraction.tiny_llama import BLOCKS, SIZES, randomise

D, Q, VOCABULARY = 24, 40, 100
IDS = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


def llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SIZES))


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=D, n_layer=BLOCKS, n_head=4, n_positions=64))


@pytest.fixture(scope="module", params=[llama, gpt2])
def lm(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    model = request.param()
    randomise(model)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None
    return model.eval()


def coder(seed: str = "coder", **settings: Any) -> SparseCoder:
    config = ModelConfig(**{"activation": "topk", "k": 4, "n_q": Q} | settings)
    sites = (D, D) if config.pair == "crosscoder" else (D,)
    return SparseCoder.from_config(config, sites, sites, torch_stream(0, seed)).eval()


@pytest.fixture
def random() -> SparseCoder:
    return coder()


@pytest.fixture
def perfect() -> SparseCoder:
    """Latents are the positive and the negative parts of the activations."""
    coder = SparseCoder.from_config(ModelConfig(activation="relu", n_q=2 * D), (D,), (D,))
    with torch.no_grad():
        for weight in (coder.W_enc, coder.W_dec):
            weight.copy_(torch.cat([torch.eye(D), -torch.eye(D)]))
    return coder.eval()


@torch.no_grad()
def logits(lm: Any) -> Tensor:
    return lm(IDS).logits


def blocks(lm: Any) -> nn.ModuleList:
    return lm.model.layers if isinstance(lm, LlamaForCausalLM) else lm.transformer.h


@contextmanager
def by_hand(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """A plain hook on what a module gives, all tokens but the first of each context changed."""

    def hook(_: Any, __: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1], change(output[:, 1:].reshape(-1, D)).view(len(output), -1, D)], dim=1)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def hooks(lm: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.modules())


@pytest.mark.parametrize("place", ["residual", "mlp_input", "mlp_output"])
@pytest.mark.parametrize("layer", [1, BLOCKS])
def test_a_perfect_dictionary_leaves_the_logits_as_they_were(lm: Any, perfect: SparseCoder, layer: int, place: Any):
    with splice(lm, layer, perfect, place=place, first_position=True):
        spliced_logits = logits(lm)
    assert torch.equal(spliced_logits, logits(lm))


def test_ablating_a_silent_latent_changes_nothing_and_another_does(lm: Any, random: SparseCoder):
    with torch.no_grad():
        random.W_enc[5] = 0
    clean = logits(lm)
    with splice(lm, 2, random):
        spliced_logits = logits(lm)
    assert not torch.equal(spliced_logits, clean)
    for keep_error, before in ((True, clean), (False, spliced_logits)):
        with splice(lm, 2, random, ablate(5), keep_error=keep_error):
            assert torch.equal(logits(lm), before)
        with splice(lm, 2, random, ablate(range(Q)), keep_error=keep_error):
            assert not torch.equal(logits(lm), before)


def test_plain_splices_replace_the_activations(lm: Any, random: SparseCoder):
    with by_hand(blocks(lm)[1], lambda x: random(x).x_hat):
        expected = logits(lm)
    with splice(lm, 2, random):
        torch.testing.assert_close(logits(lm), expected)


def test_steering_adds_decoder_rows(lm: Any, random: SparseCoder):
    with by_hand(blocks(lm)[1], lambda x: x + 3 * random.W_dec[7]):
        expected = logits(lm)
    with splice(lm, 2, random, steer(7, by=3.0)):
        torch.testing.assert_close(logits(lm), expected)
    with by_hand(blocks(lm)[1], lambda x: random(x).x_hat + 3 * random.W_dec[7]):
        expected = logits(lm)
    with splice(lm, 2, random, steer(7, by=3.0), keep_error=False):
        torch.testing.assert_close(logits(lm), expected)


def test_ablation_takes_away_what_the_latents_write(lm: Any, random: SparseCoder):
    gone = [1, 8, 30]
    with by_hand(blocks(lm)[1], lambda x: x - random.encode(x)[:, gone] @ random.W_dec[gone]):
        expected = logits(lm)
    with splice(lm, 2, random, ablate(torch.tensor(gone))):
        torch.testing.assert_close(logits(lm), expected)


def test_a_transcoder_takes_the_place_of_the_mlp(lm: Any):
    random = coder(pair="transcoder", skip=True)
    with torch.no_grad():
        random.W_skip.normal_(generator=torch.Generator().manual_seed(0))
    was: list[Tensor] = []
    handle = blocks(lm)[1].mlp.register_forward_pre_hook(lambda _, arguments: was.append(arguments[0]))
    with by_hand(blocks(lm)[1].mlp, lambda _: random(was.pop()[:, 1:].reshape(-1, D)).x_hat):
        expected = logits(lm)
    with by_hand(blocks(lm)[1].mlp, lambda x: x + 3 * random.W_dec[7]):
        steered = logits(lm)
    handle.remove()
    with splice(lm, 2, random):
        torch.testing.assert_close(logits(lm), expected)
    with splice(lm, 2, random, steer(7, by=3.0)):
        torch.testing.assert_close(logits(lm), steered)


def test_a_transcoder_of_two_layers_reads_the_one_and_writes_the_other(lm: Any):
    random = coder(pair="transcoder")
    was: list[Tensor] = []
    handle = blocks(lm)[0].register_forward_hook(lambda _, __, output: was.append(output))
    with by_hand(blocks(lm)[2], lambda _: random(was.pop()[:, 1:].reshape(-1, D)).x_hat):
        expected = logits(lm)
    handle.remove()
    with splice(lm, (1, 3), random):
        torch.testing.assert_close(logits(lm), expected)


@pytest.mark.parametrize("edit", [None, steer(7, by=20.0), ablate(range(Q))])
def test_generation_with_a_cache_goes_through_the_dictionary_at_every_token(lm: Any, random: SparseCoder, edit: Any):
    settings = {"max_new_tokens": 8, "do_sample": False}
    clean = lm.generate(IDS, **settings)
    with splice(lm, 2, random, edit):
        cached = lm.generate(IDS, use_cache=True, **settings)
        whole = lm.generate(IDS, use_cache=False, **settings)
    assert torch.equal(cached, whole)
    assert not torch.equal(cached, clean)
    assert torch.equal(lm.generate(IDS, **settings), clean)


def test_a_prompt_of_one_token_is_not_steered_and_its_continuation_is(lm: Any, random: SparseCoder):
    settings = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    clean = lm.generate(IDS[:, :1], **settings).logits
    with splice(lm, 2, random, steer(7, by=20.0)):
        steered = lm.generate(IDS[:, :1], **settings).logits
    assert torch.equal(steered[0], clean[0])
    assert not torch.allclose(steered[1], clean[1])
    with splice(lm, 2, random, steer(7, by=20.0), first_position=True):
        assert not torch.allclose(lm.generate(IDS[:, :1], **settings).logits[0], clean[0])


def test_the_first_token_after_padding_stays_clean(lm: Any, random: SparseCoder):
    """A padded prompt is changed at the same tokens as the prompt alone."""
    settings = {"max_new_tokens": 5, "do_sample": False}
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.long), IDS], dim=1)
    with splice(lm, 2, random, steer(7, by=20.0)):
        alone = lm.generate(IDS, **settings)
        batch = lm.generate(padded, attention_mask=(torch.arange(16) >= 4).long().expand(3, -1), **settings)
    assert torch.equal(batch[:, 16:], alone[:, 12:])


@torch.no_grad()
def test_a_pass_that_says_no_positions_tells_the_first_token_by_its_mask(lm: Any, random: SparseCoder):
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.long), IDS], dim=1)
    mask = (torch.arange(16) >= 4).long().expand(3, -1)
    sums: list[Tensor] = []

    def note(latents: Tensor) -> Tensor:
        sums.append(latents.sum(1))
        return latents

    with splice(lm, 2, random, note):
        lm(padded, attention_mask=mask)
        begun = lm(padded[:, :9], attention_mask=mask[:, :9], use_cache=True)
        lm(padded[:, 9:], attention_mask=mask, past_key_values=begun.past_key_values)
    assert [len(part) for part in sums] == [3 * 11, 3 * 4, 3 * 7]


def test_splices_nest(lm: Any, random: SparseCoder):
    other = coder("other")
    with by_hand(blocks(lm)[0], lambda x: x + random.W_dec[1]), by_hand(blocks(lm)[2], lambda x: x + other.W_dec[2]):
        expected = logits(lm)
    with splice(lm, 1, random, steer(1, by=1)), splice(lm, 3, other, steer(2, by=1)):
        torch.testing.assert_close(logits(lm), expected)
    with by_hand(blocks(lm)[0], lambda x: x + random.W_dec[1] + other.W_dec[2]):
        expected = logits(lm)
    with splice(lm, 1, random, steer(1, by=1)), splice(lm, 1, other, steer(2, by=1)):
        torch.testing.assert_close(logits(lm), expected)


def test_the_model_is_as_it_was_after_an_exception(lm: Any, random: SparseCoder):
    clean, before = logits(lm), hooks(lm)
    with pytest.raises(ZeroDivisionError), splice(lm, 2, random, steer(7, by=3.0)):
        raise ZeroDivisionError
    assert hooks(lm) == before
    with pytest.raises(ValueError, match="an edit must return latents"), splice(lm, 2, random, lambda z: z[:, 1:]):
        logits(lm)
    for edit in (ablate([0, Q]), steer(-1, by=1)):
        with pytest.raises(ValueError, match="latent must be between 0 and 39"), splice(lm, 2, random, edit):
            logits(lm)
    with pytest.raises(ValueError, match="latent must be 0 or more, found -1"):
        ablate(-1)
    assert hooks(lm) == before
    assert torch.equal(logits(lm), clean)


def test_models_in_a_lower_precision_stay_in_it(lm: Any, perfect: SparseCoder, random: SparseCoder):
    low = type(lm)(lm.config).to(torch.bfloat16).eval()
    clean = logits(low)
    with splice(low, 2, perfect):
        assert torch.equal(logits(low), clean)
    with splice(low, 2, random, steer(7, by=0)):
        assert torch.equal(logits(low), clean)
    with splice(low, 2, random):
        assert logits(low).dtype == torch.bfloat16


def test_gradients_pass_through_a_splice(lm: Any, random: SparseCoder):
    with splice(lm, 2, random):
        lm(IDS).logits[:, -1].max().backward()
    assert random.W_dec.grad is not None
    assert random.W_dec.grad.abs().sum() > 0
    lm.zero_grad()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 0}, "layer must be between 1 and 4"),
        ({"layer": None}, "layer is missing"),
        ({"layer": (1, 2)}, "several layers are for a crosscoder, and two for a transcoder"),
        ({"place": "mlp_out"}, r"of a module; did you mean mlp_output\?"),
        ({"dictionary": coder(pair="crosscoder"), "layer": (1, 2)}, "a crosscoder's reconstruction cannot be spliced"),
        ({"dictionary": coder(pair="transcoder"), "place": "residual"}, "a transcoder takes place mlp, or two layers"),
        ({"dictionary": coder().train()}, "training mode"),
    ],
)
def test_what_cannot_be_spliced_is_refused_before_the_model_runs(lm, random, change, message):
    before = hooks(lm)
    call = {"lm": lm, "layer": 2, "dictionary": random} | change
    with pytest.raises(ValueError, match=message), splice(**call):
        pass
    assert hooks(lm) == before


def test_a_dictionary_knows_the_layer_of_its_store(lm: Any, random: SparseCoder):
    source = {"model": "m", "text": "t", "layer": 2, "train_samples": 9, "test_samples": 9}
    facts = {"source": source, "model": {}, "text": {}, "separator": {"id": 0}, "largest_norm": {}}
    with splice(lm, dictionary=sdl.Dictionary(random, {"activations": facts}), edit=ablate([3])):
        spliced_logits = logits(lm)
    with splice(lm, 2, random, ablate([3])):
        assert torch.equal(spliced_logits, logits(lm))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"layer": "model.layers.0"}, "layer 1 .blocks.0.hook_resid_post"),
        ({"layer": 2, "place": "mlp_output"}, "layer 2, mlp_output .blocks.1.hook_mlp_out"),
    ],
)
def test_a_dictionary_elsewhere_than_where_it_was_fitted_brings_a_warning(place, message, lm, random, recwarn):
    knowing = sdl.Dictionary(random, {"activations": {"where": {"layer": 2, "place": "residual"}}})
    with splice(lm, 2, knowing):
        assert not recwarn.list
    with (
        pytest.warns(UserWarning, match=f"fitted at layer 2 .blocks.1.hook_resid_post., and is put at {message}"),
        splice(lm, dictionary=knowing, **place),
    ):
        pass


@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        (
            {"llama": "layers:output", "gpt2": "h:output"},
            SourceError,
            "this pass of the model did not reach [a-z]+:output, so nothing was replaced",
        ),
        (
            {"llama": "block.mlp.up_proj:output", "gpt2": "block.mlp.c_fc:output"},
            ValueError,
            "reads activations of width 24, but the activations at this place have width [0-9]+; use the place",
        ),
    ],
)
def test_a_place_that_a_pass_cannot_change_ends_the_pass(lm, random, places, error, message):
    before = hooks(lm)
    place = places[lm.config.model_type]
    with splice(lm, 2, random, place=place) as spliced, pytest.raises(error, match=message):
        spliced(IDS)
    assert hooks(lm) == before
