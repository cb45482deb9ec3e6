"""Crosscoders over any number of sites of different widths."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.data.writing import create_store

WIDTHS = (10, 6, 8)
QUIET = {"progress": False, "device": "cpu"}
TOPK = {"activation": "topk", "k": 2, "n_q": 24, "steps": 30, "batch_size": 64, **QUIET}


def unit_rows(rows, width, seed):
    found = np.random.default_rng(seed).standard_normal((rows, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


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
    found = sdl.fit(sites, pair="crosscoder", **TOPK)
    assert (found.pair, found.coder.input_sites, found.coder.target_sites) == ("crosscoder", WIDTHS, WIDTHS)
    latents = found.encode(sites)
    np.testing.assert_array_equal(latents, found.encode(np.hstack(sites)))
    # an autoencoder of the concatenation draws and trains the same weights
    one = sdl.fit(np.hstack(sites), **TOPK)
    np.testing.assert_array_equal(found.W_dec, one.W_dec)


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


def test_recovery_is_measured_at_each_site_over_the_features_that_occur_there(planted):
    directions, sites = planted
    found = sdl.fit(sites, pair="crosscoder", **{**TOPK, "steps": 5})
    with torch.no_grad():  # make the first latents the features
        found.coder.W_dec[:9] = torch.from_numpy(np.hstack(directions))
    scores = sdl.evaluate(found, directions, sites, nulls=False)
    assert scores["gt_recovery_decoder"] == 1
    assert [scores[f"gt_recovery_decoder_site{site}"] for site in range(3)] == [1, 1, 1]
    assert scores["mip_decoder_site2"] == pytest.approx(1, abs=1e-6)
    frame = scores.to_frame()
    assert frame.loc["mip_encoder_site2", "what"].endswith("rows of the encoder, site 2 alone")
    with pytest.raises(ValueError, match=r"references have dimensions \(10, 6\), but samples have \(10, 6, 8\)"):
        sdl.evaluate(found, [rows[:7] for rows in directions[:2]], sites, nulls=False)


def test_anchors_have_a_part_at_every_site(planted):
    directions, sites = planted
    settings = TOPK | {"lr": 0.03, "steps": 150, "lambda_anchor": 10.0}
    found = sdl.fit(sites, pair="crosscoder", anchors=[rows[:2] for rows in directions], **settings)
    cosines = torch.nn.functional.cosine_similarity(found.W_dec[:2], torch.from_numpy(np.hstack(directions))[:2])
    assert cosines.min() > 0.99
    with pytest.raises(ValueError, match=r"anchors have sites of \(10, 6\) dimensions, but x has sites of \(10"):
        sdl.fit(sites, pair="crosscoder", anchors=[rows[:2] for rows in directions[:2]], **TOPK)


def test_solvers_and_saved_files_know_every_site(planted, tmp_path):
    _, sites = planted
    solver = {"solver": "kmeans", "n_atoms": 9, "support": 2}
    found = sdl.fit(sites, **solver, **QUIET)
    found.save(tmp_path / "found.safetensors")
    again = sdl.load(tmp_path / "found.safetensors")
    assert again.coder.target_sites == WIDTHS
    np.testing.assert_array_equal(again.encode(sites), found.encode(sites))
    assert len(sdl.discover(sites, 1, min_cosine=0.1, **solver).sites) == 3


def test_batches_may_have_a_part_for_every_site(planted):
    _, sites = planted

    def batch(step):
        rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
        return [x[rows] for x in sites]

    settings = {name: value for name, value in TOPK.items() if name != "batch_size"}
    found = sdl.fit(batch, pair="crosscoder", normalise=True, **settings)
    assert found.coder.input_sites == WIDTHS
    assert found.provenance["inputs"]["store"]["site2"] == 8
    with pytest.raises(ValueError, match=r"batch 0 of x has 3 parts, .*; set pair to crosscoder if each is"):
        sdl.fit(batch, **settings)


def test_stores_side_by_side_give_the_bits_of_arrays(planted, tmp_path):
    _, sites = planted
    paths = [tmp_path / f"{site}.h5" for site in range(3)]
    for path, values in zip(paths, sites, strict=True):
        with create_store(path, {}) as writer:
            writer.append(values)
    found, arrays = sdl.fit(paths, **TOPK), sdl.fit(sites, pair="crosscoder", **TOPK)
    np.testing.assert_array_equal(found.W_dec, arrays.W_dec)
    np.testing.assert_array_equal(found.encode(paths), arrays.encode(sites))
    with pytest.raises(ValueError, match=r"x is a list of a store, a ndarray; expected two or more stores"):
        sdl.fit([paths[0], sites[1]], **TOPK)
