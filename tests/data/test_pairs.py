import numpy as np
import pytest

from sdlcore.data.pairs import Wiring, in_order, is_site, make_direction_pair, make_pair, pair_sites, site_columns

INPUT, TARGET = np.eye(4)[:3], 2 * np.ones((3, 2))


def test_each_pair_is_what_section_2_4_says():
    x_p, x_r = make_pair("sae", INPUT, TARGET)
    assert x_p is x_r is INPUT
    x_p, x_r = make_pair("transcoder", INPUT, TARGET)
    assert (x_p is INPUT, x_r is TARGET) == (True, True)
    x_p, x_r = make_pair("crosscoder", INPUT, TARGET)
    assert (x_p == np.concatenate([INPUT, TARGET], 1)).all()
    assert x_p is x_r


@pytest.mark.parametrize(
    ("pair", "sites"), [("sae", ((4,), (4,))), ("transcoder", ((4,), (2,))), ("crosscoder", ((4, 2), (4, 2)))]
)
def test_sites_are_the_widths_of_pairs(pair, sites):
    assert pair_sites(pair, 4, 2) == sites
    assert tuple(sum(widths) for widths in sites) == tuple(x.shape[1] for x in make_pair(pair, INPUT, TARGET))


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_directions_have_unit_norm(pair):
    w_r = TARGET / np.linalg.norm(TARGET, axis=1, keepdims=True)
    for w in make_direction_pair(pair, INPUT, w_r):
        assert np.linalg.norm(w, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("pair", ["transcoder", "crosscoder"])
def test_a_pair_needs_a_target(pair):
    with pytest.raises(ValueError, match=f"pair {pair} needs a source with a target"):
        make_pair(pair, INPUT)
    with pytest.raises(ValueError, match=f"pair {pair} needs a source with a target"):
        pair_sites(pair, 4)


def test_a_crosscoder_reads_and_writes_every_site_beside_the_others():
    third = np.arange(9.0).reshape(3, 3)
    x_p, x_r = make_pair("crosscoder", INPUT, TARGET, third)
    assert x_p is x_r
    np.testing.assert_array_equal(x_p, np.hstack([INPUT, TARGET, third]))
    assert pair_sites("crosscoder", 4, 2, 3) == ((4, 2, 3), (4, 2, 3))
    assert make_pair("sae", INPUT, TARGET, third)[0] is INPUT
    with pytest.raises(ValueError, match="reads one site and writes another, but this source has 3 sites"):
        make_pair("transcoder", INPUT, TARGET, third)


def test_a_wiring_may_read_and_write_any_sites():
    # the second group of a cross-layer transcoder over three layers: it reads input 1, and writes outputs 1 and 2
    group = Wiring(reads=(1,), writes=(4, 5))
    sites = [np.full((2, 1 + site), site) for site in range(6)]
    x_p, x_r = group(sites)
    assert x_p is sites[1]
    np.testing.assert_array_equal(x_r, np.hstack([sites[4], sites[5]]))
    assert group.widths([1, 2, 3, 4, 5, 6]) == ((2,), (5, 6))
    assert group.sites == (1, 4, 5)


def test_a_feature_may_be_absent_from_a_site_but_not_from_all():
    dedicated = np.array([[0.0, 0.0], [1.0, 0.0]])
    shared = np.array([[0.0, 1.0], [0.0, 1.0]])
    w, _ = make_direction_pair("crosscoder", shared, dedicated)
    np.testing.assert_allclose(w, [[0, 1, 0, 0], [0, 0.5**0.5, 0.5**0.5, 0]])
    with pytest.raises(ValueError, match="feature 0 is zero at every site that pair transcoder reads or writes"):
        make_direction_pair("transcoder", shared, dedicated)


def test_columns_of_stores_are_sites_in_order():
    assert site_columns(4) == ("input", "target", "site2", "site3")
    assert in_order({"site2": 2, "input": 0, "target": 1}) == [0, 1, 2]
    assert not is_site("labels")
