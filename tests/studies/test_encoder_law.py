"""Encoder rows beside read-outs of decoder columns, and the direction of a latent that detects a topic."""

import numpy as np
import pandas as pd
import pytest

from studies.language.directions import Topics, held_out_read_outs, summary
from studies.language.encoder_law import Basis, measure

N_P, N_Q = 24, 400


@pytest.fixture(scope="module")
def basis():
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((N_P, N_P)) * np.geomspace(3, 0.1, N_P)
    return Basis.of(mixed @ mixed.T)


def planted(basis, rho):
    W_dec = np.random.default_rng(1).standard_normal((N_Q, N_P))
    return basis.read_outs(W_dec, rho), W_dec


def test_read_outs_solve_the_regularised_equations(basis):
    covariance = (basis.vectors * basis.values) @ basis.vectors.T
    rows, W_dec = planted(basis, 0.3)
    np.testing.assert_allclose(rows @ (covariance + 0.3 * np.eye(N_P)), W_dec, atol=1e-10)


def test_a_planted_ridge_is_recovered_and_null_baselines_are_not(basis):
    measures = measure(basis, *planted(basis, 0.3))
    assert measures["rho"] == pytest.approx(0.3, rel=1e-3)
    assert measures["readout"] == pytest.approx(1)
    assert measures["decoder"] == pytest.approx(measures["turned"])
    assert measures["decoder"] < 0.9
    assert measures["gain_low"] <= measures["gain"] <= measures["gain_high"]
    assert measures["nearer"] == 1
    # cosines of unrelated directions spread by 1 / sqrt(N_P) around 0; 4 standard errors of a mean of 200
    for null in ("shuffled", "random"):
        assert abs(measures[null]) < 4 / (N_P * N_Q / 2) ** 0.5 * 3  # the read-outs keep a third of the dimensions


def test_each_half_of_the_latents_chooses_the_ridge_of_the_others_read_outs(basis):
    rows, W_dec = planted(basis, 0.3)
    rows[1::2] = basis.read_outs(W_dec[1::2], 3.0)  # so even latents get the ridge of odd ones
    expected = np.where(np.arange(N_Q)[:, None] % 2, basis.read_outs(W_dec, 0.3), basis.read_outs(W_dec, 3.0))
    # the ridge is found to about 1e-3 of its size
    np.testing.assert_allclose(held_out_read_outs(basis, rows, W_dec), expected, rtol=0.01, atol=0.01)


def test_tied_rows_are_nearest_to_their_columns(basis):
    _, W_dec = planted(basis, 0.3)
    measures = measure(basis, W_dec, W_dec)
    assert measures["rho"] > 1e5
    assert measures["decoder"] == pytest.approx(1)
    assert measures["gain"] == pytest.approx(0, abs=1e-6)


class Store(dict):
    """Activations in memory, with the columns of a store."""

    rows = 6

    def read(self, column, start=0, stop=None):
        return self[column][start:stop]


def test_topics_are_split_pooled_and_described_by_their_words():
    """Documents 1 to 40 have a topic by turns; a token of ten is the topic's own, and the others are shared."""
    document = np.repeat(np.arange(42), 10)
    topics = [None, *(["land", "sea"] * 20), "alone"]
    token = np.tile(np.arange(10), 42)
    token[::10] = [{"land": 20, "sea": 21}.get(name, 5) for name in topics]
    split = Topics.of(Store({"references/document": document, "references/token": token}), topics)
    assert split.names == ["land", "sea"]
    assert len(split.topic) == 40
    assert split.chooses[split.topic == 0].sum() == split.chooses[split.topic == 1].sum() == 10
    np.testing.assert_allclose(split.pool @ document, np.arange(1, 41))
    assert [split.words(each)[0] for each in (0, 1)] == [20, 21]


def test_directions_are_summarised_beside_the_decoder_column():
    """The decoder detects and steers each topic better by .1; the reference has one row for all dictionaries."""
    rows = [
        {"method": method, "seed": 0, "topic": topic, "direction": direction, "auc": auc, "words": auc, "loss": 0.2}
        for topic, easy in (("land", 0.5), ("sea", 0.7))
        for method, directions in (("topk", {"encoder": 0, "decoder": 0.1}), ("relu", {"encoder": 0, "decoder": 0.1}))
        for direction, auc in ((name, easy + more) for name, more in directions.items())
    ]
    rows += [{**row, "method": "none", "direction": "random"} for row in rows if row["method"] == "relu"][::2]
    table = summary(pd.DataFrame(rows)).set_index(["measure", "direction", "of"])
    assert table.loc[("auc", "encoder", "value"), "mean"] == pytest.approx(0.6)
    assert table.loc[("auc", "decoder", "value"), ["low", "high"]].tolist() == pytest.approx([0.6, 0.8])
    for direction in ("encoder", "random"):
        against = table.loc[("words", direction, "minus decoder"), ["mean", "low", "high"]]
        assert against.tolist() == pytest.approx([-0.1] * 3)
    assert table.loc[("loss", "encoder", "minus decoder"), "high"] == 0
