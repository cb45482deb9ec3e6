"""Judging a dictionary on a bench beside kept results."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.judging import compared, judged_bench
from tests import leaderboard


def topk_with(rows, k=16):
    """Return a TopK dictionary whose encoder rows and decoder columns are the given unit rows."""
    coder = sdl.SparseCoder(rows.shape[1], n_q=len(rows), activation="topk", k=k, bias=False, decoder_norm="unit")
    with torch.no_grad():
        coder.W_dec.copy_(torch.from_numpy(rows))
        coder.W_enc.copy_(torch.from_numpy(rows))
    return sdl.Dictionary(coder)


def test_the_packaged_scores_and_the_page_come_from_the_kept_table():
    assert leaderboard.PACKAGED.read_text() == leaderboard.packaged(), "run python -m tests.leaderboard"
    assert leaderboard.PAGE.read_text() == leaderboard.page(), "run python -m tests.leaderboard"


def test_true_features_are_judged_better_and_random_directions_worse():
    world = judged_bench("lrb", 7)
    rows = np.ascontiguousarray(world.W_p.T, np.float32)
    judged = sdl.judge(topk_with(rows), "lrb", seed=7)
    assert judged.scores["mip_decoder"] == pytest.approx(1, abs=1e-6)
    by_method = {row["method"]: row["verdict"] for row in judged.rows}
    assert by_method["random_samples"] == "better"
    assert by_method["topk"] != "worse"
    random = np.random.default_rng(0).normal(size=(512, 96)).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    judged = sdl.judge(topk_with(random), "lrb", seed=7)
    assert {row["verdict"] for row in judged.rows} == {"worse"}
    text = repr(judged)
    assert "random_samples" in text
    assert "detection_f1" in text


def test_a_saved_dictionary_of_another_seed_is_judged_by_its_path(tmp_path):
    world = judged_bench("lrb", 8)
    topk_with(np.ascontiguousarray(world.W_p.T, np.float32)).save(tmp_path / "true.safetensors")
    here, elsewhere = (sdl.judge(tmp_path / "true.safetensors", "lrb", seed=seed) for seed in (8, 9))
    assert here.scores["mip_decoder"] > 0.999 > elsewhere.scores["mip_decoder"]


def test_two_seeds_of_a_method_are_told_apart_in_one_of_twenty_pairs():
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(2000):
        *seeds, new = rng.normal(0.7, 0.03, 6)
        kept = [{"method": "one", "score": score, "l0": 6.0} for score in seeds]
        told += compared(new, 6.0, kept)[0]["verdict"] != "not told apart"
    assert 0.03 < told / 2000 < 0.07


def test_methods_at_another_l0_are_left_out():
    kept = [
        {"method": name, "score": 0.5 + seed / 100, "l0": l0} for name, l0 in (("a", 6), ("b", 9)) for seed in (0, 1)
    ]
    assert [row["method"] for row in compared(0.5, 6.5, kept)] == ["a"]
    assert compared(0.5, 100, kept) == []


def test_an_unknown_bench_is_refused():
    with pytest.raises(ValueError, match="bench: there is no lrb-m; expected lrb or synthsaebench"):
        judged_bench("lrb-m")


def test_a_dictionary_of_another_bench_is_refused():
    with pytest.raises(ValueError, match=r"x has sites of \(96,\) dimensions, but the sae \(4,\)"):
        sdl.judge(topk_with(np.eye(4, dtype=np.float32), 2), "lrb")
