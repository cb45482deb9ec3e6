"""Sparse codes equal the matrix of latents, and are encoded and decoded without it."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.data.pairs import pair_sites
from sdlcore.dictionary import samples
from sdlcore.dictionary.samples import SiteSamples, encode_sparse
from sdlcore.model.coder import SparseCoder
from tests.stores import write_store

N_P, N_R, N_Q = 6, 5, 20
X = np.random.default_rng(0).normal(size=(300, N_P)).astype(np.float32)
TARGET = np.random.default_rng(1).normal(size=(300, N_R)).astype(np.float32)
X[7] = 0  # no latent is active, because there is no bias
CASES = {
    **{"topk": {"activation": "topk", "k": 3}, "topk, more than are positive": {"activation": "topk", "k": 15}},
    "topk, all": {"activation": "topk", "k": 20},
    **{"batchtopk": {"activation": "batchtopk", "k": 3}, "relu": {"activation": "relu"}},
    **{"jumprelu": {"activation": "jumprelu", "init_threshold": 0.3}, "gated": {"activation": "gated"}},
}


def dictionary(pair="sae", n_q=N_Q, **settings):
    """Return a dictionary with random weights."""
    config = ModelConfig(pair, n_q=n_q, init_scale=1.0, **settings)
    coder = SparseCoder.from_config(config, *pair_sites(pair, N_P, N_R), torch.Generator().manual_seed(0))
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
    sae = dictionary(**CASES[case])
    latents, codes = sae.encode(X), sae.encode(X, sparse=True)
    assert isinstance(codes, scipy.sparse.csr_array)
    assert np.array_equal(codes.toarray(), latents)
    assert codes.nnz == np.count_nonzero(latents)
    assert codes.has_sorted_indices
    assert (latents[7] == 0).all()
    assert codes[[7]].nnz == 0
    assert (codes.indices.dtype, codes.indptr.dtype, codes.data.dtype) == (np.int32, np.int32, np.float32)


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
    assert np.array_equal(codes.toarray(), sae.encode(X))


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
            assert np.array_equal(sae.encode(x, sparse=True).toarray(), expected)
        assert np.array_equal(sae.encode(opened), expected)
        assert np.array_equal(sae.reconstruct(opened), sae.reconstruct(arrays))


@pytest.mark.parametrize("case", ["topk", "relu"])
@pytest.mark.parametrize("n", [0, 1])
def test_no_sample_and_one_have_codes(case, n):
    sae = dictionary(**CASES[case])
    codes = sae.encode(X[:n], sparse=True)
    assert codes.shape == (n, N_Q)
    assert np.array_equal(codes.toarray(), sae.encode(X[:n]))
    assert sae.decode(codes).shape == (n, N_P)


def with_nan():
    x = X.copy()
    x[200, 1] = np.nan
    return x


def changed(codes, part, value):
    getattr(codes, part)[3] = value
    return codes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda sae, _: sae.encode(with_nan(), sparse=True), "x contains NaN or infinity in row 200"),
        (
            lambda *_: dictionary("crosscoder", activation="relu").encode("one.h5", sparse=True),
            "expected 11 numbers in the last dimension, found 300 x 6",
        ),
        (lambda sae, _: sae.encode(TARGET, sparse=True), "expected 6 numbers in the last dimension, found 300 x 5"),
        (lambda sae, codes: sae.decode(codes[:, :8]), "codes have 8 latents, but the dictionary has 20"),
        (lambda sae, codes: sae.decode(changed(codes, "indices", 10**6)), "indices must be < 20"),
        (lambda sae, codes: sae.decode(changed(codes, "data", np.nan)), "codes contain NaN or infinity"),
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
def test_encoding_reads_blocks_of_samples_and_makes_no_dense_matrix(case, monkeypatch):
    n, n_q, rows, sizes = 2000, 1000, 40, []
    sae = dictionary(n_q=n_q, **CASES[case])
    sae.coder.W_enc.data[N_Q:] = 0  # most latents are never active

    def read(column, start, stop):
        sizes.append(stop - start)
        return np.resize(X, (rows, N_P))

    def stored(number):
        return SiteSamples((number,), SimpleNamespace(rows=number, widths=(N_P,), read=read), ("input",))

    monkeypatch.setattr(samples, "ROWS_AT_ONCE", rows)
    encode_sparse(sae.coder, stored(rows))  # kernels may be compiled at their first use
    tracemalloc.start()
    codes = encode_sparse(sae.coder, stored(n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes.shape == (n, n_q)
    assert set(sizes) == {rows}
    assert peak < 4 * n * n_q / 4  # a quarter of the matrix in float32
