import numpy as np
import pytest

from sdlcore.random_streams import stream
from sdlstudy.theory.landscape import unit_columns
from sdlstudy.theory.reading import read

N_P = 160


def random_features(n):
    return unit_columns(N_P, n, stream(n, "readout"))


def test_a_feature_has_the_latent_that_decodes_it_whichever_way_round():
    encoder, decoder = [[3.0, 4.0], [1.0, 0.0], [0.0, 5.0]], [[-2.0, 0.0], [0.6, 0.8], [0.8, 0.6]]
    reading = read(np.array(encoder), np.array(decoder), np.eye(2))
    # the second feature has no column above .9
    assert reading.decoder_recovers == 0.5
    assert (reading.cosine, reading.inner_product, reading.gain) == pytest.approx((0.6, 3.0, 6.0))
    assert reading.latents == 1


def test_latents_that_share_a_feature_are_added_up():
    reading = read(np.array([[0.5, 1.0], [0.25, -2.0]]), np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0], [0.0]]))
    assert reading.latents == 2
    assert reading.gain_together == pytest.approx(0.5 + 2 * 0.25)
    # (.5, 1) + 2 (.25, -2)
    assert reading.cosine_together == pytest.approx(1 / np.sqrt(1 + 9))
