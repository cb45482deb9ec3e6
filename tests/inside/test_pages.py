"""Pages of latents, from a tiny language model over made texts."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from sdlcore.config import ModelConfig
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.inside.contexts import Context
from sdlcore.inside.features import SHOWN, Feature, Logits, Pages
from sdlcore.inside.neuronpedia import Upload
from sdlcore.inside.pages import contexts
from sdlcore.inside.score import language_scores
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.extraction.tiny_llama import documents, save_tiny_llama

D, Q = 24, 32
LATENTS = [5, 0, 30]
SETTINGS: dict[str, Any] = {"context_length": 16, "contexts_per_batch": 3, "number": 4, "width": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def lm(folder: Path) -> Any:
    return load_any(folder)


def made_coder(pair: Any = "sae", seed: str = "coder") -> SparseCoder:
    sites = (D, D) if pair == "crosscoder" else (D,)
    return SparseCoder.from_config(
        ModelConfig(pair=pair, activation="topk", k=4, n_q=Q), sites, sites, torch_stream(0, seed)
    ).eval()


@pytest.fixture(scope="module")
def coder() -> SparseCoder:
    return made_coder()


@pytest.fixture(scope="module")
def pages(coder: SparseCoder, lm: Any) -> Pages:
    return contexts(coder, lm, documents(60), LATENTS, layer=2, **SETTINGS)


def test_activations_are_the_models_at_the_tokens_that_are_marked(coder: SparseCoder, lm: Any, pages: Pages):
    """Documents of one context each: the whole document is all that the model sees."""
    tokenizer = load_tokenizer(lm.name_or_path)
    texts = [text for text in documents(200) if len(tokenizer(text)["input_ids"]) >= 8]
    ids = [tokenizer(text)["input_ids"][:7] for text in texts]
    cut = [tokenizer.decode(its) for its in ids]  # 7 tokens and a separator
    whole_documents = contexts(
        coder, lm, cut, LATENTS, layer=2, context_length=8, number=3, width=9, drop=("first_position", "separator")
    )
    assert [feature.latent for feature in whole_documents.features] == LATENTS
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    with torch.no_grad():
        states = lm(torch.tensor([[*its, separator] for its in ids]), output_hidden_states=True).hidden_states[2]
        latents = coder.encode(states[:, :7].reshape(-1, D)).view(len(ids), 7, Q)
    latents[:, 0] = 0  # left out
    for feature in whole_documents.features:
        largest = latents[:, :, feature.latent].amax(1).sort(descending=True).values[:3]
        assert [context.activation for context in feature.contexts] == pytest.approx(largest.tolist(), rel=1e-2)
        for context in feature.contexts:
            expected = latents[context.document, :, feature.latent]
            torch.testing.assert_close(torch.tensor(context.values), expected, rtol=1e-2, atol=1e-2)


def test_pages_have_what_the_latents_respond_to(pages: Pages, coder: SparseCoder):
    assert pages.block == 2
    assert pages.n_q == Q
    assert pages.title.endswith("residual stream after block 2 (blocks.1.hook_resid_post)")
    assert [feature.latent for feature in pages.features] == LATENTS
    for feature in pages.features:
        assert sum(feature.counts) == round(feature.density * pages.rows)
        assert feature.contexts[0].activation == pytest.approx(feature.largest)
        assert len({context.document for context in feature.contexts}) == len(feature.contexts) == 4
        assert feature.logits is not None
        assert feature.logits.up[0][1] > 0 > feature.logits.down[0][1]
        assert len(feature.nearest) == 5


def test_intervals_show_the_latent_below_its_largest_activations(pages: Pages):
    for feature in pages.features:
        assert 3 <= len(feature.intervals) <= 4
        highs = [part.high for part in feature.intervals]
        assert highs == sorted(highs, reverse=True)
        assert highs[0] == pytest.approx(0.8 * feature.largest)
        assert sum(part.share for part in feature.intervals) < 1
        for part in feature.intervals:
            activations = [context.activation for context in part.contexts]
            assert 1 <= len(activations) <= 3
            assert activations == sorted(activations, reverse=True)
            assert all(part.low < value <= part.high for value in activations)


def test_tokens_that_are_dropped_are_read_and_do_not_count(coder, folder):
    few = contexts(coder, str(folder), documents(120), [0], layer=2, **SETTINGS | {"tokens": 16 * 37})
    assert few.rows < 16 * 37


def test_the_model_reads_at_most_the_given_number_of_contexts_at_once(coder: SparseCoder, lm: Any):
    numbers: list[int] = []
    handle = lm.get_input_embeddings().register_forward_hook(lambda _, given, __: numbers.append(len(given[0])))
    contexts(coder, lm, documents(60), [0], layer=2, **SETTINGS)
    pages, numbers[:] = max(numbers), []
    reading = {"context_length": 16, "contexts_per_batch": 2, "contexts": 7}
    language_scores(coder, lm, documents(60), layer=2, progress=False, **reading)
    handle.remove()
    assert (pages, max(numbers)) == (3, 2)


def test_contexts_without_latents_show_some_from_the_most_to_the_least_frequent(coder: SparseCoder, lm: Any):
    every = contexts(coder, lm, documents(20), range(Q), layer=2, **SETTINGS)
    some = contexts(coder, lm, documents(20), layer=2, **SETTINGS)
    density = {feature.latent: feature.density for feature in every.features}
    densities = [feature.density for feature in some.features]
    assert densities == [density[feature.latent] for feature in some.features]
    assert densities == sorted(densities, reverse=True)
    assert len(densities) == min(SHOWN, sum(share > 0 for share in density.values()))
    assert densities[0] == max(density.values())
    assert densities[-1] == min(share for share in density.values() if share)


def test_a_transcoder_and_a_crosscoder_have_pages_too(lm: Any):
    mlp = contexts(made_coder("transcoder"), lm, documents(30), LATENTS, layer=3, **SETTINGS)
    assert mlp.title.endswith("output of the MLP of block 3 (blocks.2.hook_mlp_out)")
    two = contexts(made_coder("crosscoder"), lm, documents(30), LATENTS, layer=(1, 3), **SETTINGS)
    assert two.title.endswith("residual stream after block 3 (blocks.2.hook_resid_post)")
    assert two.features[0].logits is not None
    entering = contexts(made_coder(), lm, documents(30), [0], layer=3, place="mlp_input", **SETTINGS)
    assert entering.features[0].logits is None


def test_a_latent_that_is_never_active_has_a_page(lm: Any, tmp_path: Path):
    dead = made_coder()
    with torch.no_grad():
        dead.W_enc[7] = 0
    pages = contexts(dead, lm, documents(30), [7], layer=2, **SETTINGS)
    (feature,) = pages.features
    assert feature.density == 0
    assert (feature.largest, feature.counts) == (0, [])
    assert feature.contexts == []
    assert "Active at none of" in (pages.to_html(tmp_path).with_name("latent_7.html")).read_text()
    assert pages.to_neuronpedia("tiny", "tiny-res").batches[0][0]["activations"] == []
    str(pages)


NAMELESS = GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=D, n_layer=2, n_head=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": [3, Q]}, "latent must be between 0 and 31, found 32"),
        ({"context_length": 65}, "context_length must be between 2 and the model's 64, found 65"),
        ({"contexts_per_batch": 0}, "contexts_per_batch: Input should be greater than or equal to 1, found 0"),
        ({"texts": []}, "the texts: too short for one context of 16 tokens"),
        ({"lm": NAMELESS, "layer": 1}, "give its tokenizer"),
    ],
)
def test_wrong_arguments_of_contexts_are_refused(coder: SparseCoder, lm: Any, change: Any, message: str):
    arguments = {"dictionary": coder, "lm": lm, "texts": documents(9), "latents": [0], "layer": 2} | SETTINGS | change
    with pytest.raises(ValueError, match=message):
        contexts(**arguments)


def test_signed_latents_are_refused(lm: Any):
    signed = SparseCoder.from_config(ModelConfig(activation="abstopk", k=4, n_q=Q), (D,), (D,)).eval()
    with pytest.raises(ValueError, match="is defined for non-negative latents, but latents of AbsTopK may be negative"):
        contexts(signed, lm, documents(30), [0], layer=2, **SETTINGS)


def test_a_model_that_is_being_trained_reads_without_dropout_and_goes_on_in_its_mode(coder: SparseCoder, folder: Path):
    tokenizer = load_tokenizer(folder)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=D, n_layer=2, n_head=4))
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    pages = contexts(coder, model, documents(30), LATENTS, layer=2, tokenizer=tokenizer, **SETTINGS)
    assert [module.training for module in model.modules()] == modes
    expected = contexts(coder, model.eval(), documents(30), LATENTS, layer=2, tokenizer=tokenizer, **SETTINGS)
    assert pages.features == expected.features


def test_nothing_stays_in_a_model_after_an_exception(lm: Any):
    def hooks() -> int:  # of which transformers has its own
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.modules())

    before = hooks()
    untrained = SparseCoder.from_config(ModelConfig(activation="batchtopk", k=4, n_q=Q), (D,), (D,)).eval()
    with pytest.raises(RuntimeError, match="no threshold") as error:  # and the frames, as a notebook does
        contexts(untrained, lm, documents(30), LATENTS, layer=2, **SETTINGS)
    assert error.tb
    assert hooks() == before


class Checker(HTMLParser):
    """Collects tags that are open, what is loaded, and what text there is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        attributes = dict(attrs)
        self.loaded += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in ("meta", "rect", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == "rect" or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def test_pages_are_whole_need_no_other_file_and_link_to_each_other(pages: Pages, tmp_path: Path):
    index = pages.to_html(tmp_path / "pages")
    assert index == tmp_path / "pages/index.html"
    names = {f"latent_{latent}.html" for latent in LATENTS}
    assert {path.name for path in index.parent.iterdir()} == {"index.html", *names}
    assert set(checked(index.read_text()).loaded) == names
    for feature in pages.features:
        page = checked((index.parent / f"latent_{feature.latent}.html").read_text())
        assert set(page.loaded) <= {"index.html", *names}
        for context in feature.contexts:
            assert (context.before + context.token + context.after).lstrip() in page.text
    checked(pages._repr_html_() or "<p>")


HOSTILE = "<script>alert(1)</script>\"'&"


def hostile() -> Pages:
    context = Context(2.5, 0, 0, 0, (HOSTILE, HOSTILE, "\nend"), (1.0, 2.5, 0.0), 1)
    logits = Logits([(HOSTILE, 1.0)], [(" ", -1.0)])
    return Pages(HOSTILE, 9, 1000, [Feature(4, 0.5, 2.5, [3, 0, 1], [context], [], logits, [(1, 0.5)])])


def test_nothing_in_a_text_or_a_vocabulary_becomes_markup(tmp_path: Path):
    index = hostile().to_html(tmp_path)
    for path, scripts in ((index, 1), (index.with_name("latent_4.html"), 0)):
        assert path.read_text().count("<script") == scripts
        assert HOSTILE in checked(path.read_text()).text
    assert "⏎ end" in checked(index.with_name("latent_4.html").read_text()).text
    assert "<script" not in (hostile()._repr_html_() or "<script")


def test_a_payload_for_neuronpedia_has_everything_and_is_saved(pages: Pages, tmp_path: Path):
    payload = pages.to_neuronpedia("tiny-llama", "sdl-res", url="https://example.org")
    assert payload.source == "1-sdl-res"  # blocks are counted from 0 there
    assert payload.source_set == {
        "name": "sdl-res",
        "model_id": "tiny-llama",
        "description": pages.title,
        "url": "https://example.org",
    }
    ((first, *_),) = payload.batches
    feature = pages.features[0]
    assert (first["index"], first["density"]) == (feature.latent, feature.density)
    assert first["activations"][0]["tokens"] == list(feature.contexts[0].tokens)
    lower = first["activations"][len(feature.contexts)]
    part = feature.intervals[0]
    assert lower["tokens"] == list(part.contexts[0].tokens)
    assert (lower["quantileMin"], lower["quantileMax"], lower["quantileFraction"]) == (part.low, part.high, part.share)
    assert max(first["activations"][0]["values"]) == pytest.approx(feature.contexts[0].activation, rel=1e-3)
    payload.save(tmp_path / "upload.json")
    assert Upload.load(tmp_path / "upload.json") == payload
