import numpy as np
import pandas as pd
import pytest
import torch

from sdlcore.api.inputs import activations, array, class_numbers
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import create_store


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        (np.array([7, -1, 10**9, 7]), [0, -1, 1, 0], ["7", "1000000000"]),
        (torch.tensor([2, 0, -3]), [1, 0, -1], ["0", "2"]),
        (np.array(["b", "", "a", "b"]), [1, -1, 0, 1], ["a", "b"]),
        (["b", None, np.nan, "a"], [1, -1, -1, 0], ["a", "b"]),
        (pd.Series([2, pd.NA, 0], index=[5, 6, 7], dtype=object), [1, -1, 0], ["0", "2"]),
        (pd.Series([0, -1, pd.NA, 1], dtype=object), [0, -1, -1, 1], ["0", "1"]),
        (np.array([None, None]), [-1, -1], []),
    ],
)
def test_labels_count_the_classes_that_occur_and_missing_ones_name_none(labels, numbers, names):
    found, called = class_numbers(labels)
    assert found.tolist() == numbers
    assert called == names


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([0.5, 1]), r"float64 of shape \(2,\)"),
        (np.eye(2, dtype=int), r"int64 of shape \(2, 2\)"),
        ("a", "str"),
    ],
)
def test_what_are_no_labels_is_refused(labels, found):
    with pytest.raises(ValueError, match=f"labels are {found}.*expected whole numbers or names, one a sample"):
        class_numbers(labels)


def test_a_mask_is_not_ignored():
    with pytest.raises(ValueError, match="x is a masked array, whose mask nothing here heeds"):
        array(np.ma.masked_greater(np.eye(3), 0.5), "x")


@pytest.mark.parametrize("content", [b"", b"words", b"\x93NUMPY"])
def test_a_file_that_is_no_array_is_named(content, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npy: is no \.npy file of numbers"), activations(tmp_path / "x.npy"):
        pass


@pytest.mark.parametrize("column", ["target", "labels"])
@pytest.mark.parametrize("way", ["path", "opened"])
def test_what_a_store_holds_itself_is_refused_beside_it(way, column, tmp_path):
    with create_store(tmp_path / "x.h5", {}) as writer:
        writer.append(np.ones((3, 2)))
    with ActivationStore(tmp_path / "x.h5") as opened:
        x = opened if way == "opened" else tmp_path / "x.h5"
        with (
            pytest.raises(ValueError, match=rf"x\.h5: a store holds its {column} itself; leave {column} out"),
            activations(x, **{column: np.ones((3, 1))}),
        ):
            pass
        with activations(x) as found:
            assert found.rows == 3


def test_a_file_that_holds_no_numbers_is_named(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{1: 2}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"pickled\.npy: holds Python objects, .* names by \.astype\(str\)"):
        array(tmp_path / "pickled.npy", "x")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npy: no such file, given as labels"):
        array(tmp_path / "nowhere.npy", "labels")
