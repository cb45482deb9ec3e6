"""From a language model and a text to what a dictionary costs the model, by the scripts of the pipeline."""

import json
import runpy
from pathlib import Path

import pytest

from tests.activations.tiny_llama import documents, save_tiny_llama
from tests.conftest import REPOSITORY


def run(script: str, *arguments: object) -> None:
    runpy.run_path(str(REPOSITORY / f"workflow/scripts/{script}.py"))["main"]([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("source", "method"),
    [
        ({}, {"activation": "topk", "k": 3}),
        ({"site": "mlp"}, {"pair": "transcoder", "activation": "topk", "k": 3}),
        ({"layers": [1, 3]}, {"pair": "crosscoder", "activation": "topk", "k": 3}),
    ],
    ids=["sae", "transcoder", "crosscoder"],
)
def test_a_dictionary_is_trained_spliced_in_and_shown(source: dict, method: dict, tmp_path: Path):
    model, text = save_tiny_llama(tmp_path / "model"), tmp_path / "words.json"
    text.write_text(json.dumps(documents(120)))
    stores = {part: tmp_path / f"{part}.h5" for part in ("train", "test")}
    settings = {"model": "tiny", "text": "words", "layer": 2, "context_length": 16, **source}
    settings |= {"train_samples": 1000, "test_samples": 300}
    given = ["--model", model, "--text", text, "--threads", 2, "--device", "cpu"]
    run("activations", "--source", json.dumps(settings), *given, "--train", stores["train"], "--test", stores["test"])
    training = {**method, "n_q": 48, "steps": 40, "batch_size": 64, "normalise": True}
    outputs = [word for name in ("model", "config", "history") for word in (f"--{name}", tmp_path / f"run/{name}")]
    run(
        "train",
        "--settings",
        json.dumps(training),
        "--seed",
        0,
        "--store",
        stores["train"],
        "--device",
        "cpu",
        *outputs,
    )
    shown = ["--output", tmp_path / "language.json", "--page", tmp_path / "contexts.md", "--latents", 4]
    cell = ["--cell", "tiny", "topk", "best", "none", 0]
    run("language", *cell, "--dictionary", tmp_path / "run/model", "--store", stores["test"], *given, *shown)

    found = json.loads((tmp_path / "language.json").read_text())
    assert found["run"]["source"] == "tiny"
    if method.get("pair") == "crosscoder":
        assert found["loss"] is None
    else:
        losses = found["loss"]
        assert losses["clean"] > 0
        assert losses["spliced"] != losses["clean"] != losses["mean"]
        assert 0 < losses["replaced"] < 1
    assert len(found["latents"]) == 4
    peaks = [peak for its in found["latents"].values() for peak in its]
    assert all(peak["activation"] > 0 for peak in peaks)
    page = (tmp_path / "contexts.md").read_text()
    assert page.count("<b>") == len(peaks)
