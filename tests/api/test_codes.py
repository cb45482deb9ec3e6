"""Sparse codes as arrays: both forms equal the matrix of latents."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import sdlcore as sdl
from sdlcore.api.codes import rows_of_width


def matrix(seed, n, n_q, k):
    """Return latents with between none and k per row."""
    rng = np.random.default_rng(seed)
    active = rng.random((n, n_q)).argsort(axis=1) < rng.integers(0, k + 1, (n, 1))
    return np.where(active, rng.random((n, n_q), dtype=np.float32) + 0.1, 0).astype(np.float32)


def codes_of(latents, k):
    """Return the codes of latents: N x k, or flat without k."""
    rows = scipy.sparse.csr_array(latents)
    if k is None:
        return sdl.SparseCodes.from_csr(rows)
    return sdl.SparseCodes(*rows_of_width(rows.indptr, rows.indices, rows.data, k), latents.shape[1])


SIZES = {"seed": st.integers(0, 999), "n": st.integers(0, 12), "n_q": st.integers(1, 9), "flat": st.booleans()}


@settings(max_examples=40)
@given(**SIZES, data=st.data())
def test_codes_say_the_same_as_the_matrix_and_so_do_those_of_some_rows(seed, n, n_q, flat, data):
    k = data.draw(st.integers(1, n_q))
    latents = matrix(seed, n, n_q, k)
    codes = codes_of(latents, None if flat else k)
    assert (len(codes), codes.shape, codes.n_q) == (n, (n, n_q), n_q)
    assert codes.indices.dtype == np.int32
    assert codes.values.dtype == codes.to_dense().dtype == np.float32
    assert np.array_equal(codes.to_dense(), latents)
    again = sdl.SparseCodes.from_csr(codes.to_csr())
    assert np.array_equal(again.to_dense(), latents)
    assert codes.to_csr().has_sorted_indices
    assert codes.to_csr().nnz == np.count_nonzero(latents)
    for row, (indices, values) in enumerate(codes):
        assert np.array_equal(indices, np.flatnonzero(latents[row]))
        assert np.array_equal(values, latents[row, indices])
    step = data.draw(st.integers(1, 3))
    for rows in (slice(1, None, step), slice(None, None, -step), latents.any(axis=1), np.arange(n)[::2]):
        assert np.array_equal(codes[rows].to_dense(), latents[rows])


@settings(max_examples=40)
@given(seed=st.integers(0, 999), n=st.integers(1, 12), n_q=st.integers(1, 9), data=st.data())
def test_short_rows_are_filled_with_zeros_at_latents_that_are_not_active(seed, n, n_q, data):
    k = data.draw(st.integers(1, n_q))
    codes = codes_of(matrix(seed, n, n_q, k), k)
    assert codes.indices.shape == codes.values.shape == (n, k)
    # strictly ascending: no latent occurs twice, so scattering the values gives the latents
    assert (np.diff(codes.indices, axis=1) > 0).all()
    scattered = np.zeros(codes.shape, dtype=np.float32)
    np.put_along_axis(scattered, codes.indices, codes.values, axis=1)
    assert np.array_equal(scattered, codes.to_dense())


@pytest.mark.parametrize("k", [None, 3])
def test_rows_are_counted_from_either_end_and_missing_ones_are_refused(k):
    codes = codes_of(matrix(0, 4, 6, 3), k)
    assert np.array_equal(codes[-1].indices, codes[3].indices)
    for row in (4, -5):
        with pytest.raises(IndexError):
            codes[row]


def test_the_matrix_shares_no_memory_with_the_codes():
    codes = codes_of(np.ones((2, 3), dtype=np.float32), 3)
    csr = codes.to_csr()
    csr.data[:] = 0
    assert (codes.values == 1).all()


def test_codes_say_what_they_are():
    latents = matrix(0, 4, 6, 3)
    assert repr(codes_of(latents, 3)) == "SparseCodes(4 x 6, k=3)"
    assert repr(codes_of(latents, None)) == f"SparseCodes(4 x 6, {np.count_nonzero(latents)} active)"


ONES = np.ones((2, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((ONES.astype(int), ONES[:, :2], 5), r"shapes \(2, 3\) and \(2, 2\), expected N x k each"),
        ((ONES[0].astype(int), ONES[0], 5), "expected N x k each"),
        ((ONES.astype(int), ONES, 5, np.array([0, 3, 6])), "expected flat arrays of the same length"),
        ((ONES, ONES, 5), "indices are float32 and values float32, expected integers and floats"),
        ((ONES.astype(int), ONES, 1), "indices are 1 to 1, expected latents 0 to 0"),
        ((-ONES.astype(int), ONES, 5), "indices are -1 to -1, expected latents 0 to 4"),
        ((ONES.astype(int), ONES * np.nan, 5), "values contain NaN or infinity"),
        ((ONES[0].astype(int), ONES[0], 5, np.array([0, 2])), "ascend from 0 to 3, the number of entries"),
        ((ONES[0].astype(int), ONES[0], 5, np.array([0, 3, 1, 3])), "ascend from 0 to 3"),
        ((ONES[0].astype(int), ONES[0], 5, np.array([], dtype=int)), "ascend from 0 to 3"),
    ],
)
def test_arrays_that_are_no_codes_are_refused(parts, problem):
    with pytest.raises(ValueError, match=problem):
        sdl.SparseCodes(*parts)
