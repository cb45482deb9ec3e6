import numpy as np
import pytest

from sdlstudy.theory.reading import read


def test_a_feature_has_the_latent_that_decodes_it_whichever_way_round():
    encoder, decoder = [[3.0, 4.0], [1.0, 0.0], [0.0, 5.0]], [[-2.0, 0.0], [0.6, 0.8], [0.8, 0.6]]
    found = read(np.array(encoder), np.array(decoder), np.eye(2))
    # the second feature has no column above .9
    assert found.decoder_recovers == 0.5
    assert (found.cosine, found.inner_product, found.gain) == pytest.approx((0.6, 3.0, 6.0))
    assert found.latents == 1


def test_latents_that_share_a_feature_are_added_up():
    found = read(np.array([[0.5, 1.0], [0.25, -2.0]]), np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0], [0.0]]))
    assert found.latents == 2
    assert found.gain_together == pytest.approx(0.5 + 2 * 0.25)
    # (.5, 1) + 2 (.25, -2)
    assert found.cosine_together == pytest.approx(1 / np.sqrt(1 + 9))


def test_a_dictionary_without_any_feature_has_no_numbers():
    found = read(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]]), np.eye(2))
    assert np.isnan(found[:-1]).all()
    assert found.decoder_recovers == 0
