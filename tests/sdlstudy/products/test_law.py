"""The figure of the law of encoder rows, made from files on disk."""

import pytest

from sdlcore.random_streams import stream
from sdlstudy.theory.encoder_law import law, own_cosines, own_products, read_outs
from sdlstudy.theory.landscape import unit_columns
from tests.sdlstudy.products import studies

LAW = {
    "source": "lrb",
    "n": [120, 128],
    "noise": [0.0, 0.5],
    "runs": {"acs": {"n": [120, 128], "noise": [0.5]}, "topk": {"n": [128], "noise": [0.0], "seeds": [3]}},
}


def configuration(**changes):
    return studies.alone({"seeds": [0, 3], "law": LAW | changes})


def features(source, seed):
    n = 120 if source == "lrb_n_120" else 128
    return unit_columns(96, n, stream(seed, source))


def write(folder, config):
    """Write true features, and runs with these as columns and their read-outs, thrice as long, as rows."""
    files, product = config.files(), config.law
    for point, seed in product.matrices(config):
        studies.write_matrix(folder / files.feature_matrix(point.source, seed), features(point.source, seed))
    for cell in product.cells(config):
        W = features(cell.source, cell.seed)
        studies.write_matrix(folder / files.feature_matrix(cell.source, cell.seed), W)
        studies.write_dictionary(folder / files.model(cell), 3 * read_outs(W), 2 * W.T)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("law"), configuration()
    write(folder, config)
    return studies.pictured(folder, studies.make(config, "law", folder), "law")


def test_it_has_a_row_for_each_read_out_of_true_features_and_each_run_at_each_point(rows):
    assert rows[["method", "parameter", "value", "seed"]].to_numpy().tolist() == [
        *(
            ["least squares", parameter, value, seed]
            for parameter, values in (("n", (120, 128)), ("noise", (0, 0.5)))
            for value in values
            for seed in (0, 3)
        ),
        *(["acs", *point, seed] for point in (("n", 120), ("n", 128), ("noise", 0.5)) for seed in (0, 3)),
        ["topk", "n", 128, 3],
        ["topk", "noise", 0, 3],
    ]


def test_the_law_stands_beside_each_and_noise_is_squared(rows):
    noise = rows.loc[rows["parameter"] == "noise", "value"].tolist()
    expected = [law(n, 96) for n in rows.loc[rows["parameter"] == "n", "value"]] + [
        law(128, 96, value**2) for value in noise
    ]
    laws = [*rows.loc[rows["parameter"] == "n", "law"], *rows.loc[rows["parameter"] == "noise", "law"]]
    assert laws == pytest.approx(expected)
    assert rows["deviation"].to_numpy() == pytest.approx((rows["cosine"] - rows["law"]).to_numpy())


def test_numbers_are_those_of_the_features_and_of_the_dictionaries(rows):
    exact = rows[rows["method"] == "least squares"].set_index(["parameter", "value", "seed"])["cosine"]
    W = features("lrb_n_120", 3)
    assert exact["n", 120, 3] == pytest.approx(own_cosines(read_outs(W), W).mean(), abs=1e-6)
    W = features("lrb", 0)
    assert exact["noise", 0.5, 0] == pytest.approx(own_cosines(read_outs(W, 0.25), W).mean(), abs=1e-6)
    run = rows[(rows["method"] == "acs") & (rows["parameter"] == "n") & (rows["value"] == 128)].iloc[0]
    assert run["cosine"] == pytest.approx(exact["n", 128, 0], abs=1e-5)
    products = own_products(read_outs(W), W).mean()
    assert run["inner_product"] == pytest.approx(3 * products, rel=1e-5)
    assert run["gain"] == pytest.approx(6 * products, rel=1e-5)
    assert run["gain_together"] == pytest.approx(run["gain"])
    assert run["decoder_recovers"] == run["latents"] == 1
