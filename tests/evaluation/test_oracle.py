import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.config import SELECTING, ModelConfig
from sdlcore.evaluation.evaluate import oracle_codes
from sdlcore.model.activations.registry import make_sigma
from sdlcore.random_streams import stream

W = feature_matrix(16, 20, stream(0, "p"), 0.5).W
x = coefficients(300, 20, BenchSamples(sparsity=0.9), stream(0, "x"))
SAMPLES = synthesise(x, W)
Z = np.maximum(SAMPLES @ W, 0)


def codes(activation: str, k: int | None = None) -> np.ndarray:
    tied = {"tied": True, "decoder_norm": "unit"} if activation == "matching_pursuit" else {}
    return oracle_codes(SAMPLES, W.T, make_sigma(ModelConfig(activation=activation, k=k, n_q=20, **tied)))


@given(st.integers(1, 20))
def test_selection_keeps_the_largest_by_sample_or_over_all(k):
    topk_codes = codes("topk", k)
    assert ((topk_codes > 0).sum(1) == np.minimum((Z > 0).sum(1), k)).all()
    np.testing.assert_array_equal(topk_codes, np.where(np.sort(Z)[:, -k][:, None] <= Z, Z, 0))
    batchtopk_codes = codes("batchtopk", k)
    assert (batchtopk_codes > 0).sum() == min((Z > 0).sum(), k * len(Z))
    assert Z[(batchtopk_codes == 0)].max() <= batchtopk_codes[batchtopk_codes > 0].min()


def test_selection_keeps_no_more_than_k_of_equal_ones():
    equal = np.array([[1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 3.0, 0.0]])
    topk, batchtopk, abstopk = (make_sigma(ModelConfig(activation=name, k=2, n_q=4)) for name in SELECTING[:3])
    np.testing.assert_array_equal(oracle_codes(equal, np.eye(4), topk), [[1, 2, 0, 0], [0, 0, 3, 0]])
    np.testing.assert_array_equal(oracle_codes(equal, np.eye(4), batchtopk), [[1, 2, 1, 0], [0, 0, 3, 0]])
    signed = np.array([[1.0, -2.0, -1.0, 1.0]])
    np.testing.assert_array_equal(oracle_codes(signed, np.eye(4), abstopk), [[1, -2, 0, 0]])
    np.testing.assert_array_equal(oracle_codes(signed, np.eye(4), topk), [[1, 0, 0, 1]])


def test_relu_keeps_what_is_positive_and_jumprelu_what_no_single_feature_sets_off():
    np.testing.assert_array_equal(codes("relu"), Z)
    latents = codes("jumprelu")
    np.testing.assert_array_equal(latents[latents > 0], Z[latents > 0])
    assert 0 < (latents > 0).sum() < (Z > 0).sum()
    alone = oracle_codes(W.T, W.T, make_sigma(ModelConfig(activation="jumprelu", n_q=20)))
    np.testing.assert_allclose(alone, np.eye(20), atol=1e-6)
