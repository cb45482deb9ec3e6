"""From a language model and a text to what a dictionary costs the model, by the scripts of the pipeline; and by
Snakemake to dictionaries of activations that are extracted in parts, or never stored."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.models import find_checkpoint, load_any
from sdlcore.storage.files import sha256_of
from sdlstudy.results.tables import read_csv
from tests.conftest import script
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
def test_rows_in_memory_repeat_a_streamed_source_alone(words: Checkout):
    language = {name: {**source, "buffer_rows": 200} for name, source in CHANGE["sources"]["language"].items()}
    targets = [f"{run}/metrics.json" for run in RUNS]
    plan = words.plan(*targets, change={"sources": {"language": language}})
    assert plan.rules() == {"stream_recipe", "train", "evaluate"}


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
