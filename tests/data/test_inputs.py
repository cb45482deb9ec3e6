import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from sdlcore.data.conversion import activations, array, class_numbers, floats
from sdlcore.data.reading import ActivationStore
from tests.stores import write_store


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
        (["a\0", "a"], [1, 0], ["a", "a\0"]),
        ([7, "7", 10], [1, 1, 0], ["10", "7"]),
    ],
)
def test_labels_count_the_classes_that_occur_and_missing_ones_name_none(labels, numbers, names):
    class_indices, called = class_numbers(labels)
    assert class_indices.tolist() == numbers
    assert called == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1]), r"labels are float64 of shape \(2,\).*expected whole numbers or names, one per sample"),
        (np.eye(2, dtype=int), r"labels are int64 of shape \(2, 2\).*; labels.argmax\(1\) does of one-hot rows"),
        ("a", "labels are object.*expected whole numbers or names, one per sample"),
        (["a", True], "label True of sample 1 is a bool"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        class_numbers(labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.ones(2, 3, dtype=torch.int8), r"x is int8 of shape \(2, 3\), .*; convert it to float32"),
        (
            lambda: np.array([["1.5"]]),
            r"x is <U3 of shape \(1, 1\), expected floating-point numbers \(float16, float32",
        ),
        (lambda: scipy.sparse.csr_array(np.eye(3)), r"x is a csr_array, expected .*; give x.toarray\(\)"),
        (lambda: np.ma.masked_greater(np.eye(3), 0.5), "x is a MaskedArray, expected an array, a tensor or a path"),
    ],
)
def test_what_are_no_floating_point_numbers_is_refused_everywhere(make, message):
    x = make()
    with pytest.raises(ValueError, match=message):
        floats(x, "x")
    with pytest.raises(ValueError, match=message), activations(x):
        pass


def test_tensors_that_share_or_negate_memory_are_read():
    x = torch.ones(2, 3)
    assert floats(torch._neg_view(x), "x").tolist() == (-np.ones((2, 3))).tolist()
    assert floats(x.bfloat16().requires_grad_(), "x").dtype == np.float32


def pickled(path):
    np.save(path, np.array([{1: 2}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        *(
            (lambda path, content=content: path.write_bytes(content), r"x\.npy: is not an \.npy file of numbers")
            for content in (b"", b"words", b"\x93NUMPY")
        ),
        (lambda path: None, r"No such file.*x\.npy"),
        (pickled, r"x\.npy: is not an \.npy file of numbers \(.*Python objects"),
    ],
)
def test_a_file_that_is_no_array_is_refused(write, message, tmp_path):
    write(tmp_path / "x.npy")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        array(tmp_path / "x.npy", "x")
    with pytest.raises((ValueError, FileNotFoundError), match=message), activations(tmp_path / "x.npy"):
        pass


@pytest.mark.parametrize("column", ["target", "labels"])
@pytest.mark.parametrize("way", ["path", "opened"])
def test_what_a_store_holds_itself_is_refused_beside_it(way, column, tmp_path):
    write_store(tmp_path / "x.h5", np.ones((3, 2)))
    with ActivationStore(tmp_path / "x.h5") as opened:
        x = opened if way == "opened" else tmp_path / "x.h5"
        with (
            pytest.raises(ValueError, match=rf"x\.h5: a store contains its own {column}; leave {column} out"),
            activations(x, **{column: np.ones((3, 1))}),
        ):
            pass
        with activations(x) as source:
            assert source.rows == 3
