import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.data.anchors import load_anchors, save_anchors
from sdlcore.data.references import References
from sdlcore.storage.checksums import write_with_checksum

W_p = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
W_r = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
W_p /= np.linalg.norm(W_p, axis=0)
W_r /= np.linalg.norm(W_r, axis=0)


def drawn(sites, n_anchors, seed=0, first=None):
    W_p, *others = sites
    return References(W_p, others[0] if others else None, more=tuple(others[1:])).choose(n_anchors, seed, first)


@given(seed=st.integers(0, 99), k=st.integers(1, 9))
def test_anchors_are_a_random_subset_of_true_features(seed, k):
    anchors = drawn([W_p, W_r], k, seed)
    assert len(set(anchors.feature)) == k
    np.testing.assert_array_equal(anchors.w_p, W_p[:, anchors.feature].T)
    np.testing.assert_array_equal(anchors.w_r, W_r[:, anchors.feature].T)
    more = drawn([W_p], 9, seed)
    assert more.w_r is None
    np.testing.assert_array_equal(more.feature[:k], anchors.feature)


def test_anchors_can_be_drawn_from_the_first_features_alone():
    assert set(drawn([W_p, W_r], 3, first=3).feature) == {0, 1, 2}


@pytest.mark.parametrize(
    ("number", "first"), [(0, None), (10, None), (4, 3), (-3, None), (2.5, None), (float("nan"), None)]
)
def test_numbers_of_anchors_out_of_range_are_refused(number, first):
    with pytest.raises(ValueError, match=f"n_anchors must be .*, found {number}"):
        drawn([W_p], number, first=first)


@pytest.mark.parametrize("sites", [[W_p], [W_p, W_r], [W_p, W_r, W_p[:, ::-1]]])
def test_files_keep_them(tmp_path, sites):
    anchors = drawn(sites, 3)
    if len(sites) == 1:  # discovered anchors belong to no known feature
        anchors = anchors._replace(feature=None)
    save_anchors(tmp_path / "a.safetensors", anchors, {"seed": 0})
    loaded_anchors = load_anchors(tmp_path / "a.safetensors")
    assert len(loaded_anchors.sites) == len(sites)
    for saved, expected in zip(
        (*loaded_anchors.sites, loaded_anchors.feature), (*anchors.sites, anchors.feature), strict=True
    ):
        assert (saved is expected is None) or (saved == expected).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w_p": None}, "expected anchors"),
        ({"w_p": W_p.T[:3] * 2}, "row 0 of w_p has norm 2, expected a unit vector"),
        ({"w_r": np.where(np.arange(3)[:, None] == 2, np.nan, W_r.T[:3])}, "row 2 of w_r has norm nan"),
        ({"w_p": W_p.T[:2]}, r"w_r is float32 of shape \(3, 4\), expected a unit vector"),
        ({"w_p": np.diag([1.0, 0, 1, 0, 0])[:3], "w_r": np.diag([1.0, 0, 1, 0])[:3]}, "row 1 is zero at every site"),
        ({"feature": np.arange(2)}, r"feature has shape \(2,\), expected 3 indices"),
    ],
)
def test_anchors_that_are_no_unit_vectors_of_features_are_refused_by_the_name_of_their_file(tmp_path, changed, message):
    tensors = {"w_p": W_p.T[:3], "w_r": W_r.T[:3], "feature": np.arange(3)} | changed
    write_with_checksum(tmp_path / "a.safetensors", {k: np.asarray(v) for k, v in tensors.items() if v is not None}, {})
    with pytest.raises(ValueError, match=rf"a\.safetensors: {message}"):
        load_anchors(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("number", "given_away"), [(3.0, 3), (0.5, 4), (0.01, 1), (0.34, 3)])
def test_a_number_of_anchors_below_one_is_a_share_of_the_features(number, given_away):
    assert len(drawn([W_p], number).feature) == given_away


def test_a_share_is_rounded_before_it_is_cut():
    assert len(drawn([np.eye(100, dtype=np.float32)], 0.29).feature) == 29
