"""Samples from our generator of SynthSAEBench's distribution and from SAELens' differ by no more than chance."""

import pytest

from tests.benches.test_judge import printed


@pytest.mark.peers
def test_both_generators_have_one_distribution():
    statistics = printed("-m", "tests.benches.saelens")
    # these do not depend on random numbers
    assert statistics["candidacy"] < 1e-6
    assert statistics["means"] < 1e-6
    assert statistics["bias"] < 1e-6
    assert statistics["overlap_apart"] < 5
    # both score the same dictionary
    for name in ("f1", "precision", "recall", "uniqueness", "mcc"):
        assert statistics[f"{name}_apart"] < 1e-6, name
    for name in ("deviations_p", "factors_p"):
        assert statistics[name] > 1e-4, name
    for version in (1, 2):
        check_samples({name.removesuffix(f"_v{version}"): value for name, value in statistics.items()})


def check_samples(statistics):
    """Check the statistics of samples of one version."""
    # a child without its parent, or two siblings, were never seen in either
    assert statistics["orphans"] == statistics["siblings"] == 0
    # in standard errors: one normal number in two million exceeds 5, and there are 256 features and 2000 pairs
    assert statistics["features"] > 200
    assert statistics["pairs"] > 1500
    assert statistics["children"] > 80
    for name in ("active", "magnitudes", "products"):
        assert statistics[f"{name}_largest"] < 5, name
    assert statistics["together_largest"] < 5.5
    # the mean square of m standard normal numbers is 1 within 5 sqrt(2 / m); pairs share features, so it varies more
    assert abs(statistics["active_mean_square"] - 1) < 5 * (2 / statistics["features"]) ** 0.5
    assert abs(statistics["together_mean_square"] - 1) < 0.15
    assert abs(statistics["deviations_ratio"] - 1) < 0.01
    assert statistics["l0_p"] > 1e-4
