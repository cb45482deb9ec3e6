"""Sparse codes as arrays: both forms equal the matrix of latents."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sdlcore as sdl
from sdlcore.api.codes import encoded, rows_of_width
from sdlcore.api.samples import Samples
from sdlcore.data.pairs import pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.run import ModelConfig
from sdlcore.sparse.search import LargestPerSample
from tests.stores import write_store


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


N_P, N_R, N_Q = 6, 5, 20
X = np.random.default_rng(0).normal(size=(300, N_P)).astype(np.float32)
TARGET = np.random.default_rng(1).normal(size=(300, N_R)).astype(np.float32)
X[7] = 0  # no latent is active, because there is no bias
CASES = {
    **{"topk": {"activation": "topk", "k": 3}, "topk, more than are positive": {"activation": "topk", "k": 15}},
    **{"topk, all": {"activation": "topk", "k": 20}, "pursuit": {"activation": "topk", "k": 4, "pursuit": 3}},
    **{"batchtopk": {"activation": "batchtopk", "k": 3}, "relu": {"activation": "relu"}},
    **{"jumprelu": {"activation": "jumprelu", "init_threshold": 0.3}, "gated": {"activation": "gated"}},
}


def dictionary(pair="sae", n_q=N_Q, **settings):
    """Return a dictionary with random weights."""
    config = ModelConfig(pair, n_q=n_q, init_scale=1.0, **settings)
    coder = SparseCoder(config, *pair_sites(pair, N_P, N_R), torch.Generator().manual_seed(0))
    if settings["activation"] == "batchtopk":
        coder.sigma.threshold.fill_(0.7)
    return sdl.Dictionary(coder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "x.h5"
    write_store(path, X, TARGET)
    return path


@pytest.mark.parametrize("case", CASES)
def test_sparse_codes_are_the_dense_latents(case):
    sae, k = dictionary(**CASES[case]), CASES[case].get("k")
    latents, codes = sae.encode(X), sae.encode(X, sparse=True)
    assert np.array_equal(codes.to_dense(), latents)
    assert (latents[7] == 0).all()
    assert len(codes[7].indices) == 0
    if CASES[case]["activation"] == "topk":
        assert codes.indptr is None
        assert codes.indices.shape == codes.values.shape == (len(X), k)
    else:
        assert codes.indptr.dtype == np.int64
        assert codes.indices.shape == codes.values.shape == (np.count_nonzero(latents),)
    for indices in (codes.indices, codes.to_csr().indices):
        assert (indices.dtype, codes.values.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("case", CASES)
def test_decoding_sparse_codes_is_decoding_the_latents(case):
    """A sum of m products and a bias in any order is within (m + 1) u of the sum of their sizes, u being 2^-24."""
    sae = dictionary(**CASES[case])
    with torch.no_grad():
        sae.coder.b_dec.normal_(generator=torch.Generator().manual_seed(1))
    latents = sae.encode(X)
    sizes = np.abs(latents.astype(np.float64)) @ np.abs(sae.W_dec.double().numpy()) + np.abs(sae.b_dec.numpy())
    terms = np.count_nonzero(latents, axis=1)[:, None] + 2
    reconstruction = sae.decode(sae.encode(X, sparse=True))
    assert reconstruction.dtype == np.float32
    assert (np.abs(reconstruction.astype(np.float64) - sae.decode(latents)) <= 2 * terms * 2.0**-24 * sizes).all()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("base", [sdl.ReLU, sdl.TopK])
def test_an_activation_plugin_has_equal_sparse_and_dense_codes(base):
    def values(self, pre, support):
        return (pre - 0.1).clamp(min=0)

    sdl.activation("shrunk")(type("Shrunk", (base,), {"__module__": __name__, "values": values}))
    sae = dictionary(activation="shrunk", k=3 if base is sdl.TopK else None)
    codes = sae.encode(X, sparse=True)
    assert np.array_equal(codes.to_dense(), sae.encode(X))
    assert (codes.indptr is None) == (base is sdl.TopK)


@pytest.mark.usefixtures("registry")
def test_a_plugin_with_a_custom_search_may_select_more_than_k():
    def search(self):
        return LargestPerSample(2 * self.k)

    sdl.activation("twice")(type("Twice", (sdl.TopK,), {"__module__": __name__, "search": search}))
    sae = dictionary(activation="twice", k=3)
    codes = sae.encode(X, sparse=True)
    assert codes.indices.shape == (len(X), 6)
    assert np.array_equal(codes.to_dense(), sae.encode(X))


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_arrays_tensors_files_and_stores_have_the_same_codes(pair, store, tmp_path):
    sae = dictionary(pair, activation="topk", k=3)
    paths = [tmp_path / "x.npy", tmp_path / "target.npy"]
    for path, values in zip(paths, (X, TARGET), strict=True):
        np.save(path, values)
    both = pair == "crosscoder"
    arrays = [X, TARGET] if both else X
    expected = sae.encode(arrays)
    with sdl.ActivationStore(store) as opened:
        inputs = [arrays, paths if both else paths[0], store, str(store), opened]
        inputs.append([torch.from_numpy(x) for x in arrays] if both else torch.from_numpy(X).requires_grad_())
        for x in inputs:
            assert np.array_equal(sae.encode(x, sparse=True).to_dense(), expected)
        assert np.array_equal(sae.encode(opened), expected)
        assert np.array_equal(sae.reconstruct(opened), sae.reconstruct(arrays))


@pytest.mark.parametrize("case", ["topk", "relu"])
@pytest.mark.parametrize("n", [0, 1])
def test_no_sample_and_one_have_codes(case, n):
    sae = dictionary(**CASES[case])
    codes = sae.encode(X[:n], sparse=True)
    assert codes.shape == (n, N_Q)
    assert np.array_equal(codes.to_dense(), sae.encode(X[:n]))
    assert sae.decode(codes).shape == (n, N_P)


@pytest.mark.slow  # compiles kernels
def test_codes_in_double_precision_stay_in_it():
    sae = dictionary(**CASES["relu"])
    sae.coder.double()
    codes = sae.encode(X, sparse=True)
    assert codes.values.dtype == np.float64
    assert np.array_equal(codes.to_dense(), sae.encode(X))


def with_nan():
    x = X.copy()
    x[200, 1] = np.nan
    return x


def with_index(codes, index):
    codes.indices[3, 0] = index
    return codes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda sae, _: sae.encode(with_nan(), sparse=True), "row 200 contains NaN, infinity or a number"),
        (
            lambda *_: dictionary("crosscoder", activation="relu").encode("one.h5", sparse=True),
            r"one.h5: contains no target, which a crosscoder needs besides the input",
        ),
        (lambda sae, _: sae.encode(TARGET, sparse=True), "expected 6 numbers in the last dimension, found 300 x 5"),
        (
            lambda sae, codes: sae.decode(sdl.SparseCodes(codes.indices % 8, codes.values, 8)),
            "codes have 8 latents, but the dictionary has 20",
        ),
        (
            lambda sae, codes: sae.decode(with_index(codes, 10**6)),
            r"indices are \d+ to 1000000, expected latents 0 to 19",
        ),
    ],
)
def test_samples_and_codes_of_another_dictionary_are_refused(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_store("one.h5", X)
    sae = dictionary(**CASES["topk"])
    codes = sae.encode(X, sparse=True)
    with pytest.raises(ValueError, match=message):
        call(sae, codes)


@pytest.mark.parametrize("case", ["topk", "batchtopk"])
def test_encoding_reads_blocks_of_samples_and_makes_no_dense_matrix(case):
    n, n_q, rows, sizes = 2000, 1000, 40, []
    sae = dictionary(n_q=n_q, **CASES[case])
    sae.coder.W_enc.data[N_Q:] = 0  # most latents are never active

    def read(start, stop):
        sizes.append(stop - start)
        return np.resize(X, (rows, N_P))

    encoded(sae.coder, Samples((rows, N_P), read), rows)  # kernels may be compiled at their first use
    tracemalloc.start()
    codes = encoded(sae.coder, Samples((n, N_P), read), rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(codes) == n
    assert set(sizes) == {rows}
    assert peak < 4 * n * n_q / 4  # a quarter of the matrix in float32
