import numpy as np
import pytest

from sdlcore.data.pairs import in_order, is_site, make_direction_pair, make_pair, pair_sites, site_columns

INPUT, TARGET = np.eye(4)[:3], 2 * np.ones((3, 2))


def test_each_pair_is_what_section_2_4_says():
    x_p, x_r = make_pair("sae", INPUT, TARGET)
    assert x_p is x_r is INPUT
    x_p, x_r = make_pair("transcoder", INPUT, TARGET)
    assert (x_p is INPUT, x_r is TARGET) == (True, True)
    third = np.arange(9.0).reshape(3, 3)
    for sites in ([INPUT, TARGET], [INPUT, TARGET, third]):
        x_p, x_r = make_pair("crosscoder", *sites)
        assert x_p is x_r
        np.testing.assert_array_equal(x_p, np.hstack(sites))
    assert make_pair("sae", INPUT, TARGET, third)[0] is INPUT
    with pytest.raises(ValueError, match="reads one site and writes another, but this source has 3 sites"):
        make_pair("transcoder", INPUT, TARGET, third)
    with pytest.raises(ValueError, match="pair crosscoder needs a source with a target"):
        pair_sites("crosscoder", 4)


@pytest.mark.parametrize(
    ("pair", "sites"), [("sae", ((4,), (4,))), ("transcoder", ((4,), (2,))), ("crosscoder", ((4, 2), (4, 2)))]
)
def test_sites_have_the_widths_of_pairs_and_directions_unit_norm(pair, sites):
    assert pair_sites(pair, 4, 2) == sites
    assert tuple(sum(widths) for widths in sites) == tuple(x.shape[1] for x in make_pair(pair, INPUT, TARGET))
    for w in make_direction_pair(pair, INPUT, TARGET / np.linalg.norm(TARGET, axis=1, keepdims=True)):
        assert np.linalg.norm(w, axis=1) == pytest.approx(1)


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
