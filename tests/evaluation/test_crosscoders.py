"""Crosscoders over any number of sites of different widths."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from tests.stores import write_store

WIDTHS = (10, 6, 8)
QUIET = {"progress": False, "device": "cpu"}
TOPK = {"activation": "topk", "k": 2, "n_q": 24, "steps": 10, "batch_size": 64, **QUIET}


def unit_rows(rows, width, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def planted():
    """Three sites of nine features, of which feature 7 occurs only at site 0 and feature 8 only at site 2."""
    directions = [unit_rows(9, width, site) for site, width in enumerate(WIDTHS)]
    directions[1][7:] = 0
    directions[0][8] = directions[2][7] = 0
    rng = np.random.default_rng(5)
    features = (rng.random((512, 9)) < 0.15) * rng.random((512, 9))
    return directions, [(features @ rows).astype(np.float32) for rows in directions]


def test_it_is_a_crosscoder_of_the_sites_beside_each_other(planted):
    _, sites = planted
    settings = {**TOPK, "normalise": False}  # which scales each site by itself
    dictionary = sdl.fit(sites, pair="crosscoder", **settings)
    assert (dictionary.pair, dictionary.coder.input_sites, dictionary.coder.target_sites) == (
        "crosscoder",
        WIDTHS,
        WIDTHS,
    )
    latents = dictionary.encode(sites)
    np.testing.assert_array_equal(latents, dictionary.encode(np.hstack(sites)))
    # an autoencoder of the concatenation draws and trains the same weights
    one = sdl.fit(np.hstack(sites), **settings)
    np.testing.assert_array_equal(dictionary.W_dec, one.W_dec)


def test_normalisation_and_l1_count_each_site_by_itself(planted):
    _, sites = planted
    loud = [sites[0], 100 * sites[1], sites[2]]
    settings = {**TOPK, "activation": "relu", "k": None, "l1": 0.02, "normalise": True, "initialisation": "tied"}
    plain, louder = (sdl.fit(x, pair="crosscoder", **settings) for x in (sites, loud))
    # a site's scale is divided out, but 100 is no power of two: float32 rounds differently
    np.testing.assert_allclose(louder.encode(loud), plain.encode(sites), atol=1e-3)
    norms = [part.norm(dim=1) for part in plain.W_dec.split(list(WIDTHS), dim=1)]
    out = plain.coder(torch.from_numpy(np.hstack(sites)), norms=True)
    torch.testing.assert_close(out.norms, sum(norms))


def test_recovery_is_measured_at_each_site_over_its_features(planted):
    directions, sites = planted
    dictionary = sdl.fit(sites, pair="crosscoder", **{**TOPK, "steps": 5})
    with torch.no_grad():  # make the first latents the features
        dictionary.coder.W_dec[:9] = torch.from_numpy(np.hstack(directions))
    scores = sdl.evaluate(dictionary, directions, sites, nulls=False)
    assert scores["gt_recovery_decoder"] == 1
    assert [scores[f"gt_recovery_decoder_site{site}"] for site in range(3)] == [1, 1, 1]
    assert scores["mip_decoder_site2"] == pytest.approx(1, abs=1e-6)
    frame = scores.to_frame()
    assert frame.loc["mip_encoder_site2", "what"].endswith("rows of the encoder, site 2 alone")


def test_anchors_have_a_part_at_every_site(planted):
    directions, sites = planted
    settings = TOPK | {"lr": 0.03, "steps": 150, "lambda_anchor": 10.0}
    dictionary = sdl.fit(sites, pair="crosscoder", anchors=[rows[:2] for rows in directions], **settings)
    cosines = torch.nn.functional.cosine_similarity(dictionary.W_dec[:2], torch.from_numpy(np.hstack(directions))[:2])
    assert cosines.min() > 0.99


def test_sites_that_do_not_fit_are_refused(planted):
    directions, sites = planted
    two = [rows[:2] for rows in directions[:2]]
    dictionary = sdl.fit(sites, pair="crosscoder", **TOPK | {"steps": 1})
    with pytest.raises(ValueError, match="anchors have 10 and 6 dimensions, but the sites of this crosscoder have 10"):
        sdl.fit(sites, pair="crosscoder", anchors=two, **TOPK)
    with pytest.raises(ValueError, match=r"truth: found \(10, 6\) dimensions, but x has \(10, 6, 8\)"):
        sdl.evaluate(dictionary, two, sites, nulls=False)
    with pytest.raises(ValueError, match=r"x has sites of \(10, 6\) dimensions, but the crosscoder \(10, 6, 8\)"):
        sdl.shared_and_dedicated(dictionary, sites[:2])
    with pytest.raises(ValueError, match="dictionary has pair sae, expected a crosscoder"):
        sdl.shared_and_dedicated(sdl.Dictionary(sdl.SparseCoder(4, n_q=2)))


def test_solvers_and_saved_files_know_every_site(planted, tmp_path):
    _, sites = planted
    solver = {"solver": "kmeans", "n_atoms": 9, "support": 2}
    dictionary = sdl.solve(sites, **solver, progress=False)
    dictionary.save(tmp_path / "found.safetensors")
    again = sdl.load(tmp_path / "found.safetensors")
    assert again.coder.target_sites == WIDTHS
    np.testing.assert_array_equal(again.encode(sites), dictionary.encode(sites))
    assert len(sdl.discover(sites, 1, min_cosine=0.1, **solver).sites) == 3


def test_stores_side_by_side_give_the_bits_of_arrays(planted, tmp_path):
    _, sites = planted
    paths = [tmp_path / f"{site}.h5" for site in range(3)]
    for path, values in zip(paths, sites, strict=True):
        write_store(path, values)
    dictionary, arrays = sdl.fit(paths, **TOPK), sdl.fit(sites, pair="crosscoder", **TOPK)
    np.testing.assert_array_equal(dictionary.W_dec, arrays.W_dec)
    np.testing.assert_array_equal(dictionary.encode(paths), arrays.encode(sites))


def crosscoder_of(W_dec, widths):
    """Return a crosscoder whose latents are the positive first entries of site 0, scaled by nothing."""
    n_q = len(W_dec)
    coder = sdl.SparseCoder(widths[0], widths[1:], pair="crosscoder", n_q=n_q, activation="relu")
    with torch.no_grad():
        coder.W_enc.zero_()
        coder.W_enc[:, :n_q] = torch.eye(n_q)
        coder.W_dec.copy_(torch.as_tensor(W_dec))
    return sdl.Dictionary(coder)


def test_classes_follow_from_relative_decoder_norms():
    W_dec = np.zeros((6, 6))
    W_dec[0, [0, 2, 4]] = 3, 2, 1  # everywhere
    W_dec[1, [0, 2, 4]] = 1, 0.19, 0.1  # below the threshold of .2
    W_dec[2, [2]] = 2
    W_dec[3, [0, 4]] = 1, 0.5
    W_dec[4, [4, 5]] = 3, 4
    table = sdl.shared_and_dedicated(crosscoder_of(W_dec, (2, 2, 2)))
    assert list(table["class"]) == ["shared", "site 0", "site 1", "sites 0, 2", "site 2", "dead"]
    np.testing.assert_allclose(table.loc[0, ["norm_site0", "norm_site1", "norm_site2"]].astype(float), [3, 2, 1])
    assert table.loc[4, "norm_site2"] == pytest.approx(5)
    assert (table.loc[0, "relative_norm_site2"], table.loc[5, "relative_norm_site0"]) == (pytest.approx(1 / 3), 0)
    lower = sdl.shared_and_dedicated(crosscoder_of(W_dec, (2, 2, 2)), threshold=0.05)
    assert lower.loc[1, "class"] == "shared"


def test_samples_make_sites_of_other_scales_comparable(planted):
    _, sites = planted
    dictionary = sdl.fit(sites, pair="crosscoder", normalise=True, **TOPK)
    loud = [sites[0], 64 * sites[1], sites[2]]
    louder = sdl.fit(loud, pair="crosscoder", normalise=True, **TOPK)
    plain, scaled = sdl.shared_and_dedicated(dictionary, sites), sdl.shared_and_dedicated(louder, loud)
    # 64 is a power of two, so that both trainings take the same steps up to rounding in the fitted scales
    np.testing.assert_allclose(scaled["relative_norm_site1"], plain["relative_norm_site1"], atol=1e-3)
    np.testing.assert_allclose(plain["active"], (dictionary.encode(sites) != 0).mean(axis=0))


def test_latent_scaling_shows_shrunken_and_decoupled_latents():
    f = np.abs(np.random.default_rng(0).standard_normal((50, 2))).astype(np.float32)
    d = np.array([0.0, 0.0, 1.0, 2.0], dtype=np.float32)
    # latents 0 and 1 are entries 0 and 1 of site 0; only latent 0 writes to site 0
    x0 = np.hstack([f, np.zeros((50, 2), np.float32)]) + f[:, :1] * d
    shrunken = np.zeros((2, 8), np.float32)
    shrunken[0, :4] = d
    table = sdl.shared_and_dedicated(crosscoder_of(shrunken, (4, 4)), [x0, 0.3 * f[:, :1] * d])
    # site 1 contains .3 f d, of which the crosscoder reconstructs nothing
    assert table.loc[0, "class"] == "site 0"
    assert table.loc[0, "scaling_error_site1"] == pytest.approx(0.3, rel=1e-5)
    assert table.loc[0, "scaling_reconstruction_site1"] == 0
    assert table.loc[1, "class"] == "dead"
    same = np.repeat(f[:, :1], 2, axis=1)
    x0 = np.hstack([same, np.zeros((50, 2), np.float32)]) + f[:, :1] * d
    decoupled = np.zeros((2, 8), np.float32)
    decoupled[0, :4] = decoupled[1, 4:] = d
    table = sdl.shared_and_dedicated(crosscoder_of(decoupled, (4, 4)), [x0, f[:, :1] * d])
    # latent 1 writes to site 1 what latent 0 writes to site 0
    assert list(table["class"]) == ["site 0", "site 1"]
    assert table.loc[0, "scaling_reconstruction_site1"] == pytest.approx(1, rel=1e-5)
    assert table.loc[0, "scaling_error_site1"] == pytest.approx(0, abs=1e-5)
    assert (table[["scaling_error_site0", "scaling_reconstruction_site0"]].loc[0] == 1).all()
    wider = np.hstack([decoupled, np.zeros((2, 1), np.float32)])
    table = sdl.shared_and_dedicated(crosscoder_of(wider, (4, 5)), [x0, np.hstack([f[:, :1] * d, f[:, :1]])])
    assert table["scaling_error_site1"].isna()[0]
