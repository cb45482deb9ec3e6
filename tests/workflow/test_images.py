"""A real run of Table 2 and Figures 9 and 10 on a folder of images drawn here, with a CLIP trained in the run."""

import csv

import numpy as np
import PIL.Image
import pytest

from sdlcore.data.reading import ActivationStore
from sdlcore.errors import StoreError
from tests.workflow.conftest import Checkout

COLOURS = {"blue": (30, 60, 220), "green": (20, 200, 40), "red": (230, 30, 30), "white": (240, 240, 240)}
CHANGE = {
    "sources": {
        "clip": {
            "shapes": {
                **{"images": "pictures/train", "test_images": "pictures/test", "model": "resources/clip/tiny.json"},
                **{"pretrained": "trained", "train_samples": None, "test_samples": None, "workers": 0, "shards": 2},
                **{"training": {"steps": 4, "batch_size": 32}, "run": {"n_q": 64}},
            }
        }
    },
    "anchorings": {"class_means": {"n_anchors": 2, "lambda_anchor": 10.0}},
    "tables": {
        "table1": None,
        "table2": {"source": "shapes", "methods": ["topk"], "anchorings": ["none", "class_means"]},
    },
    "figures": {
        "figure6": None,
        "figure8": None,
        "figure9": {"source": "shapes", "method": "topk", "anchoring": "class_means"},
        "figure10": {"source": "shapes", "method": "topk"},
    },
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The pipeline after a run on pictures of four colours."""
    checkout = Checkout(tmp_path_factory.mktemp("pictures") / "sdlcore")
    rng = np.random.default_rng(0)
    for part, number in (("train", 50), ("test", 15)):
        for name, colour in COLOURS.items():
            folder = checkout.path / "pictures" / part / f"{name}_square"
            folder.mkdir(parents=True)
            for i in range(number):
                noise = rng.integers(-25, 25, (28, 28, 3))
                PIL.Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    (checkout.path / "pictures/train/red_square/broken.png").write_bytes(b"not an image")
    checkout.snakemake(change=CHANGE)
    return checkout


@pytest.mark.slow
def test_table_2_and_figures_9_and_10_have_their_files(pictures):
    results = pictures.path / "results/tiny"
    for name in (
        "figures/figure9.png",
        "figures/figure10.pdf",
        "tables/figure9.csv",
        "tables/table2.md",
        "report.html",
    ):
        assert (results / name).stat().st_size > 100, name
    with (results / "tables/table2.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["anchoring"] for row in rows] == ["none", "class_means"]
    # two of four classes
    assert all(float(row["anchors_only_gt_recovery_decoder_mean"]) >= 0.5 for row in rows)
    assert all(float(row["top_classes_mean"] or 4) <= 4 for row in rows)
    assert rows[1]["paper_gt_recovery"] == "0.2413"
    text = (results / "report.html").read_text()
    for part in ("Table 2: directions of classes", "Anchors only", "Figure 9", "Figure 10"):
        assert part in text
    # names of classes are in the pictures, and in their tables
    with (results / "tables/figure9.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} >= {"red square"}


@pytest.mark.slow
def test_a_second_run_has_no_jobs_and_a_lost_part_is_embedded_alone(pictures):
    assert pictures.plan(change=CHANGE).jobs == []
    part = pictures.path / "results/tiny/activations/shapes/train/part-00001.h5"
    saved = part.read_bytes()
    part.unlink()
    try:
        plan = pictures.plan("results/tiny/activations/shapes/train/part-00001.h5", change=CHANGE)
        assert [rule for rule, _ in plan.jobs] == ["clip_shard"]
        with pytest.raises(StoreError, match=r"part-00001\.h5"):
            ActivationStore(pictures.path / "results/tiny/activations/shapes/train.h5")
    finally:
        part.write_bytes(saved)
