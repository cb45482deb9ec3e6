"""From a language model and a text to what a dictionary costs the model, by the scripts of the pipeline; and by
Snakemake to dictionaries of activations that are extracted in parts, or never stored."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.models import find_checkpoint, load_any
from sdlcore.storage.files import sha256_of
from sdlstudy.results.tables import read_csv
from tests.conftest import make_run, script
from tests.extraction.tiny_llama import documents, save_tiny_gguf, save_tiny_llama
from tests.workflow.conftest import Checkout

WORDS = {"model": "models/tiny", "text": "words.json", "layer": 2, "context_length": 16}
WORDS |= {"train_samples": 900, "test_samples": 200, "run": {"n_q": 32, "steps": 30, "batch_size": 64}}
CHANGE = {
    "sources": {
        "language": {
            "in_parts": {**WORDS, "shards": 2},
            "streamed": {**WORDS, "stream": True, "buffer_rows": 300, "n_p": 24},
        }
    }
}
RUNS = [f"results/tiny/runs/{source}/topk/best/none/seed0" for source in ("in_parts", "streamed")]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with a model and a text, in which a dictionary of either source was trained."""
    checkout = Checkout(tmp_path_factory.mktemp("words") / "sdlcore")
    save_tiny_llama(checkout.path / "models/tiny")
    (checkout.path / "words.json").write_text(json.dumps(documents(150)))
    checkout.snakemake(*(f"{run}/metrics.json" for run in RUNS), change=CHANGE)
    return checkout


@pytest.mark.slow
def test_dictionaries_of_parts_and_of_streams_are_trained_and_judged(words: Checkout):
    for run in RUNS:
        metrics = json.loads((words.path / run / "metrics.json").read_text())["metrics"]
        assert 0 < metrics["fvu"] < 1.5
        assert metrics["l0"] > 0
    with ActivationStore(words.path / "results/tiny/activations/in_parts/train.h5") as store:
        assert [shard.path.name for shard in store.shards] == ["part-00000.h5", "part-00001.h5"]
        assert store.rows == 900
    assert {path.name for path in (words.path / "results/tiny/activations/streamed").iterdir()} == {
        "train.json",
        "test.h5",
    }
    facts = json.loads((words.path / RUNS[1] / "config.json").read_text())
    assert facts["identity"]["inputs"]["store"] == sha256_of(
        words.path / "results/tiny/activations/streamed/train.json"
    )
    lm = AutoModelForCausalLM.from_pretrained(words.path / "models/tiny")
    clean, changed = lm(torch.arange(4)[None]).logits, []
    for run in RUNS:
        with sdl.splice(lm, dictionary=sdl.load(words.path / run)):  # each knows its layer
            changed.append(lm(torch.arange(4)[None]).logits)
    assert all(not torch.equal(its, clean) for its in changed)


@pytest.mark.slow
def test_a_second_run_has_no_jobs_and_a_lost_part_is_extracted_alone(words: Checkout):
    targets = [f"{run}/metrics.json" for run in RUNS]
    assert words.plan(*targets, change=CHANGE).jobs == []
    part = words.path / "results/tiny/activations/in_parts/train/part-00001.h5"
    saved = part.read_bytes()
    part.unlink()
    plan = words.plan(str(part.relative_to(words.path)), change=CHANGE)
    part.write_bytes(saved)
    assert [rule for rule, _ in plan.jobs] == ["language_shard"]


@pytest.mark.slow
def test_one_job_fills_the_stores_of_several_layers(words: Checkout, tmp_path: Path):
    change = {"sources": {"language": {"each": {**WORDS, "each_layer": [1, 3]}}}}
    targets = [f"results/tiny/activations/each_layer{layer}/train.h5" for layer in (1, 3)]
    assert [rule for rule, _ in words.plan(*targets, change=change).jobs] == ["activations_each"]
    words.snakemake(targets[0], change=change)
    assert words.plan(*targets, change=change).jobs == []
    for layer in (1, 3):
        source = LanguageSource(**{key: value for key, value in WORDS.items() if key != "run"} | {"layer": layer})
        stores = {"train": tmp_path / f"{layer}.h5", "test": tmp_path / f"{layer}-test.h5"}
        where = {"model": str(words.path / "models/tiny"), "text": str(words.path / "words.json")}
        script("activations")(source=source, **where, device="cpu", threads=torch.get_num_threads(), **stores)
        for split, path in stores.items():
            with (
                ActivationStore(words.path / f"results/tiny/activations/each_layer{layer}/{split}.h5") as store,
                ActivationStore(path) as expected,
            ):
                assert np.array_equal(store.read("input"), expected.read("input"))


@pytest.mark.slow
def test_stores_outlive_their_text_and_a_stream_does_not(words: Checkout):
    sources = CHANGE["sources"]["language"]
    alone = [{"sources": {"language": {name: source}}} for name, source in sources.items()]
    other = {"sources": {"language": {"in_parts": {**sources["in_parts"], "text": "gone.json"}}}}
    refused = words.snakemake(f"{RUNS[0]}/metrics.json", change=other, check=False)
    assert refused.returncode != 0
    assert "sources.language.in_parts: no such file: gone.json. results/tiny has results of in_parts" in refused.stdout
    after = (words.path / "words.json").rename(words.path / "elsewhere.json")
    try:
        assert words.plan(f"{RUNS[0]}/metrics.json", change=alone[0]).jobs == []
        refused = words.snakemake(f"{RUNS[1]}/metrics.json", "-n", change=alone[1], check=False)
        assert refused.returncode != 0
        assert "sources.language.streamed: no such file: words.json" in refused.stdout
    finally:
        after.rename(words.path / "words.json")


@pytest.mark.slow
def test_dictionaries_are_judged_by_the_model(words: Checkout):
    change = {
        "seeds": [0, 1],
        "sources": {"language": {"judged": {**WORDS, "test_samples": 900}}},
        "language_scores": {"runs": {"judged": {"methods": ["topk"]}}},
    }
    words.snakemake("language_scores", change=change)
    assert words.plan("language_scores", change=change).jobs == []
    scores = read_csv(words.path / "results/tiny/tables/language_scores.csv")
    assert scores["kl_recovered_mean"].lt(1).all()
    assert scores["seed"].tolist() == [0, 1]


@pytest.mark.slow
def test_checkouts_with_one_cache_leave_each_other_the_models_that_they_converted(tmp_path: Path):
    """A second one's file has the same name and is broken: its job fails, and Snakemake cleans up after it."""
    save_tiny_gguf(save_tiny_llama(tmp_path / "tiny"), tmp_path / "model.gguf")
    settings = {"model": "model.gguf", "text": "words.json"}
    change = {"cache": str(tmp_path / "cache"), "sources": {"language": {"mine": settings}}}
    target = f"results/tiny/models/local-{hashlib.sha256(b'model.gguf').hexdigest()[:12]}/model.gguf"
    first, second = tmp_path / "first" / target, Checkout(tmp_path / "second/sdlcore")
    cache = tmp_path / "cache/models"
    script("language_model")(gguf=tmp_path / "model.gguf", cache=cache, output=first)
    (second.path / "model.gguf").write_bytes((tmp_path / "model.gguf").read_bytes()[:20_000])
    done = second.snakemake(target, change=change, check=False)
    assert done.returncode != 0
    (log,) = (second.path / "logs/tiny/language_model").glob("*/*.log")
    assert "model.gguf: not readable as a checkpoint" in log.read_text()
    model = find_checkpoint(first)
    assert model.resolve().parent == cache
    assert load_any(model).config.num_hidden_layers


@pytest.mark.parametrize(
    ("source", "method"),
    [
        ({}, {"activation": "topk", "k": 3}),
        ({"site": "mlp"}, {"pair": "transcoder", "activation": "topk", "k": 3}),
        ({"layers": [1, 3]}, {"pair": "crosscoder", "activation": "topk", "k": 3}),
    ],
    ids=["sae", "transcoder", "crosscoder"],
)
def test_a_dictionary_is_trained_and_scored_in_its_language_model(source: dict, method: dict, tmp_path: Path):
    model, text = save_tiny_llama(tmp_path / "model"), tmp_path / "words.json"
    text.write_text(json.dumps(documents(120)))
    stores = {part: tmp_path / f"{part}.h5" for part in ("train", "test")}
    settings = {"model": "tiny", "text": "words", "layer": 2, "context_length": 16, **source}
    settings |= {"train_samples": 1000, "test_samples": 300}
    settings_of_extraction = {"model": str(model), "text": str(text), "threads": 2, "device": "cpu"}
    script("activations")(source=LanguageSource.from_dict(settings), **settings_of_extraction, **stores)
    training = {**method, "n_q": 48, "steps": 40, "batch_size": 64, "normalise": True}
    make_run(tmp_path / "run", stores["train"], training)
    script("language")(
        cell=("tiny", "topk", "best", "none", 0),
        dictionary=tmp_path / "run/model.safetensors",
        store=stores["test"],
        latents=4,
        output=tmp_path / "language.json",
        page=tmp_path / "contexts.md",
        **settings_of_extraction,
    )

    scores = json.loads((tmp_path / "language.json").read_text())
    assert scores["run"]["source"] == "tiny"
    if method.get("pair") == "crosscoder":
        assert scores["loss"] is None
    else:
        losses = scores["loss"]
        assert losses["clean"] > 0
        assert losses["spliced"] != losses["clean"] != losses["mean"]
        assert 0 < losses["replaced"] < 1
    assert len(scores["latents"]) == 4
    peaks = [peak for its in scores["latents"].values() for peak in its]
    assert all(peak["activation"] > 0 for peak in peaks)
    page = (tmp_path / "contexts.md").read_text()
    assert page.count("<b>") == len(peaks)
    knows_its_layer = sdl.load(tmp_path / "run")
    assert "latent 0" in str(sdl.contexts(knows_its_layer, model, documents(20), latents=[0], context_length=16))
