import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.data.anchors import Anchors, load_anchors, save_anchors
from sdlcore.data.references import References
from sdlcore.storage.checksums import write_with_checksum

W_p = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
W_r = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
W_p /= np.linalg.norm(W_p, axis=0)
W_r /= np.linalg.norm(W_r, axis=0)


@given(seed=st.integers(0, 99), k=st.integers(1, 9))
def test_anchors_are_a_random_subset_of_true_features(seed, k):
    anchors = References(W_p, W_r).choose(k, seed)
    assert len(set(anchors.feature)) == k
    np.testing.assert_array_equal(anchors.w_p, W_p[:, anchors.feature].T)
    np.testing.assert_array_equal(anchors.w_r, W_r[:, anchors.feature].T)
    more = References(W_p).choose(9, seed)
    assert more.w_r is None
    np.testing.assert_array_equal(more.feature[:k], anchors.feature)
    assert set(References(W_p, W_r).choose(3, seed, first=3).feature) == {0, 1, 2}


@pytest.mark.parametrize(
    ("number", "first"), [(0, None), (10, None), (4, 3), (-3, None), (2.5, None), (float("nan"), None)]
)
def test_numbers_of_anchors_out_of_range_are_refused(number, first):
    with pytest.raises(ValueError, match=f"n_anchors must be .*, found {number}"):
        References(W_p).choose(number, first=first)


@pytest.mark.parametrize("sites", [[W_p], [W_p, W_r], [W_p, W_r, W_p[:, ::-1]]])
def test_files_keep_them(tmp_path, sites):
    anchors = References(*sites).choose(3)
    if len(sites) == 1:  # discovered anchors belong to no known feature
        anchors = Anchors(*anchors.sites)
    save_anchors(tmp_path / "a.safetensors", anchors, {"seed": 0})
    loaded = load_anchors(tmp_path / "a.safetensors")
    assert len(loaded.sites) == len(sites)
    for saved, expected in zip((*loaded.sites, loaded.feature), (*anchors.sites, anchors.feature), strict=True):
        assert (saved is expected is None) or (saved == expected).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w_p": None}, "expected a tensor w_p, found feature, w_r"),
        ({"w_p": W_p.T[:3] * 2}, "row 0 of w_p has norm 2, expected a unit vector"),
        ({"w_r": np.where(np.arange(3)[:, None] == 2, np.nan, W_r.T[:3])}, "row 2 of w_r has norm nan"),
        ({"w_p": W_p.T[:2]}, r"w_r is float32 of shape \(3, 4\), expected a unit vector"),
        ({"w_p": np.diag([1.0, 0, 1, 0, 0])[:3], "w_r": np.diag([1.0, 0, 1, 0])[:3]}, "row 1 is zero at every site"),
    ],
)
def test_anchors_that_are_no_unit_vectors_of_features_are_refused_by_the_name_of_their_file(tmp_path, changed, message):
    tensors = {"w_p": W_p.T[:3], "w_r": W_r.T[:3], "feature": np.arange(3)} | changed
    write_with_checksum(tmp_path / "a.safetensors", {k: np.asarray(v) for k, v in tensors.items() if v is not None}, {})
    with pytest.raises(ValueError, match=rf"a\.safetensors: {message}"):
        load_anchors(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("n", "number", "chosen"), [(9, 3.0, 3), (9, 0.5, 4), (9, 0.01, 1), (9, 0.34, 3), (100, 0.29, 29)]
)
def test_a_number_of_anchors_below_one_is_a_share_of_the_features(n, number, chosen):
    assert len(References(np.eye(n, dtype=np.float32)).choose(number).feature) == chosen
