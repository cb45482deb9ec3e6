import numpy as np
import pytest
import torch

from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import ModelConfig
from sdlcore.study.theory.reading import read


def dictionary(W_enc: list[list[float]], W_dec: list[list[float]]) -> SparseCoder:
    model = SparseCoder(ModelConfig(n_q=len(W_enc)), (2,), (2,))
    with torch.no_grad():
        model.W_enc.copy_(torch.tensor(W_enc))
        model.W_dec.copy_(torch.tensor(W_dec))
    return model.eval()


def test_a_feature_has_the_latent_that_decodes_it_whichever_way_round():
    model = dictionary([[3.0, 4.0], [1.0, 0.0], [0.0, 5.0]], [[-2.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    found = read(model, np.eye(2))
    # the second feature has no column above .9
    assert found.decoder_recovers == 0.5
    assert (found.cosine, found.inner_product, found.gain) == pytest.approx((0.6, 3.0, 6.0))
    assert found.latents == 1


def test_latents_that_share_a_feature_are_added_up():
    found = read(dictionary([[0.5, 1.0], [0.25, -2.0]], [[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0], [0.0]]))
    assert found.latents == 2
    assert found.gain_together == pytest.approx(0.5 + 2 * 0.25)
    # (.5, 1) + 2 (.25, -2)
    assert found.cosine_together == pytest.approx(1 / np.sqrt(1 + 9))


def test_a_dictionary_without_any_feature_has_no_numbers():
    found = read(dictionary([[1.0, 0.0]], [[1.0, 1.0]]), np.eye(2))
    assert np.isnan(found[:-1]).all()
    assert found.decoder_recovers == 0
