"""The figure of single features, made from files on disk."""

import numpy as np
import pytest

from sdlcore.data.anchors import Anchors, save_anchors
from tests.sdlstudy.products import studies

TABLE1 = {
    "source": "lrb",
    "methods": ["topk", "relu"],
    "anchorings": ["none", "ground_truth"],
    "protocols": ["paper", "best"],
    "seeds": [1],
}


def configuration(**changes):
    return studies.alone({"tables": {"table1": TABLE1 | changes}})


def test_it_has_each_feature_of_each_dictionary_without_and_with_anchors(tmp_path):
    config = configuration()
    files, product = config.files(), config.products()["features"]
    W = np.eye(5, dtype=np.float32)
    studies.write_matrix(tmp_path / files.feature_matrix("lrb", 1), W)
    save_anchors(tmp_path / files.anchors("lrb", "ground_truth", 1), Anchors(W[[3]], None, np.array([3])), {})
    for pair in product.pairs():
        # without anchors the encoder finds only feature 0, with anchors only feature 1; the decoder finds all
        studies.write_dictionary(tmp_path / files.model(pair.plain), W[[0] * 5], W)
        studies.write_dictionary(tmp_path / files.model(pair.anchored), W[[1] * 5], -W)
    rows = studies.pictured(tmp_path, studies.make(config, "features", tmp_path), "features", width=600)
    assert rows["method"].tolist() == ["topk"] * 5 + ["relu"] * 5
    for method in ("topk", "relu"):
        features = rows[rows["method"] == method]
        assert features["feature"].tolist() == [0, 1, 2, 3, 4]
        assert features["given"].tolist() == [False, False, False, True, False]
        assert features["encoder"].tolist() == [1, 0, 0, 0, 0]
        assert features["encoder_anchored"].tolist() == [0, 1, 0, 0, 0]
        assert features["decoder"].tolist() == features["decoder_anchored"].tolist() == [1] * 5


def test_it_is_of_the_tables_first_protocol_and_seed():
    config = configuration()
    assert config.products()["features"].inputs(config.files()) == [
        *(
            f"results/quick/runs/lrb/{method}/paper/{anchoring}/seed1/model.safetensors"
            for method in ("topk", "relu")
            for anchoring in ("none", "ground_truth")
        ),
        "results/quick/bench/lrb/seed1/feature_matrix.safetensors",
        "results/quick/anchors/lrb/ground_truth/seed1.safetensors",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"anchorings": ["none"]},
        {"anchorings": ["ground_truth"]},
        {"source": "fashion_clip", "anchorings": ["none", "class_means"]},
    ],
    ids=["no anchors", "nothing else", "no bench"],
)
def test_it_needs_a_table_that_compares_anchors_on_a_bench(changes):
    assert "features" not in configuration(**changes).products()


def test_other_tables_have_none():
    config = studies.alone({"tables": {"own_more": TABLE1}})
    assert list(config.products()) == ["own_more"]
