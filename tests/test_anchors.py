import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.anchors import load_anchors, random_anchors, save_anchors
from sdlcore.sealing import write_sealed
from sdlcore.streams import stream

W_p = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
W_r = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)


@given(seed=st.integers(0, 99), k=st.integers(1, 9))
def test_anchors_are_a_random_subset_of_true_features(seed, k):
    anchors = random_anchors(W_p, W_r, k, stream(seed))
    assert len(set(anchors.feature)) == k
    np.testing.assert_array_equal(anchors.w_p, W_p[:, anchors.feature].T)
    np.testing.assert_array_equal(anchors.w_r, W_r[:, anchors.feature].T)
    more = random_anchors(W_p, None, 9, stream(seed))
    assert more.w_r is None
    np.testing.assert_array_equal(more.feature[:k], anchors.feature)


@pytest.mark.parametrize("k", [0, 10])
def test_there_are_no_more_anchors_than_features(k):
    with pytest.raises(ValueError, match="between 1 and n = 9"):
        random_anchors(W_p, W_r, k, stream(0))


@pytest.mark.parametrize("target", [W_r, None])
def test_files_keep_them(tmp_path, target):
    anchors = random_anchors(W_p, target, 3, stream(0))
    if target is None:  # those that were discovered are of no feature
        anchors = anchors._replace(feature=None)
    save_anchors(tmp_path / "a.safetensors", anchors, {"seed": 0})
    for saved, made in zip(load_anchors(tmp_path / "a.safetensors"), anchors, strict=True):
        assert (saved is made is None) or (saved == made).all()


def test_other_files_are_refused_by_name(tmp_path):
    write_sealed(tmp_path / "x.safetensors", {"x": W_p}, {})
    with pytest.raises(ValueError, match=r"x\.safetensors: not an anchor file"):
        load_anchors(tmp_path / "x.safetensors")
