import numpy as np
import pytest

from sdlcore.evaluation.recovery import best_match, mip, normalise_rows
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import ModelConfig
from sdlcore.sources.bench.feature_matrix import feature_matrix, leaked_start
from sdlcore.sources.bench.settings import FeatureMatrixConfig

N, N_P, N_Q = 128, 96, 512


def start_of(initialisation: str) -> np.ndarray:
    config = ModelConfig(activation="topk", k=4, n_q=N_Q, initialisation=initialisation)
    return normalise_rows(SparseCoder(config, (N_P,), (N_P,), torch_stream(3, "initialisation")).W_enc.detach().numpy())


def features(start: np.ndarray | None) -> np.ndarray:
    return feature_matrix(N_P, N, stream(3, "feature matrix", "W_p"), FeatureMatrixConfig(0.3), start).W.T


@pytest.mark.parametrize(("initialisation", "own"), [("tied", 0.9), ("linear", 0.3)])
def test_with_the_leak_latents_start_at_the_features(initialisation, own):
    leaked = best_match(start_of(initialisation), features(leaked_start(N_P, N, 3)))
    honest = best_match(start_of(initialisation), features(None))
    assert mip(leaked) > mip(honest) + 0.02
    assert (leaked.latent == np.arange(N)).mean() > own
    # the honest start knows nothing of the features
    assert (honest.latent == np.arange(N)).mean() < 0.05
