"""Directions that are found in both halves of the data, without labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.data.reading import ActivationStore
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.stable import Half, Stable, common_directions, stable_directions
from tests.stores import write_store

CONFIG = {"n_atoms": 100, "support": 6, "batch_size": 2048}


def write(path, x, **more):
    write_store(path, x, **more)
    return path


def test_of_a_bench_they_are_its_features_and_junk_is_not_among_them(bench, tmp_path):
    path = write(tmp_path / "train.h5", bench.x.numpy())
    with ActivationStore(path) as store:
        stable = stable_directions(store, SolverConfig(**CONFIG), 0.9, seed=0)
        again = stable_directions(store, SolverConfig(**CONFIG), 0.9, seed=0)
        # without pruning, most atoms are no features, and the halves do not share these
        ksvd = stable_directions(store, SolverConfig(solver="ksvd", **CONFIG), 0.95, seed=0)
    nearest = stable.anchors.w_p @ bench.features.numpy().T
    assert stable.anchors.w_r is stable.anchors.feature is None
    assert len(stable.cosines) == len(set(nearest.argmax(1))) == 40
    assert (nearest.max(1) > 0.97).all()
    assert (np.diff(stable.energies) <= 0).all()
    np.testing.assert_array_equal(stable.anchors.w_p, again.anchors.w_p)
    assert ksvd.atoms == (100, 100)
    assert len(ksvd.cosines) < 60
    assert (ksvd.anchors.w_p @ bench.features.numpy().T).max(1).mean() > 0.9


@pytest.mark.parametrize(("normalise", "unit"), [(False, 3.0), (True, 3.0), (True, 2.0**-30)])
def test_stable_directions_of_a_pair_join_both_sides(bench, tmp_path, normalise, unit):
    x = bench.x.numpy()
    path = write(tmp_path / "pair.h5", x, target=unit * x[:, ::-1].copy())
    with ActivationStore(path) as store:
        config = SolverConfig(pair="crosscoder", normalise=normalise, **CONFIG)
        anchors = stable_directions(store, config, 0.9, seed=0).anchors
        with pytest.raises(ValueError, match="pair sae or crosscoder, found transcoder"):
            stable_directions(store, SolverConfig(pair="transcoder"), 0.9, seed=0)
    nearest = (bench.features.numpy() @ anchors.w_p.T).argmax(1)
    w_p, w_r = anchors.w_p[nearest], anchors.w_r[nearest]
    # centred activations may have one more direction, from the subtracted mean
    assert len(set(nearest)) == 40 <= len(anchors.w_p) <= 40 + normalise
    assert ((w_p * bench.features.numpy()).sum(1) > 0.97).all()
    assert ((w_r[:, ::-1] * bench.features.numpy()).sum(1) > 0.97).all()
    np.testing.assert_allclose(np.linalg.norm(anchors.w_r, axis=1), 1, rtol=1e-5)


def halves(seed, shared, first, second, d=20):
    """Return two halves with ``shared`` directions in common, in another order, and random ones of their own."""
    rng = np.random.default_rng(seed)
    same = rng.standard_normal((shared, d))
    sides = []
    for extra in (first, second):
        atoms = np.concatenate([same + 0.01 * rng.standard_normal(same.shape), rng.standard_normal((extra, d))])
        atoms = atoms[rng.permutation(len(atoms))]
        sides.append(Half([atoms / np.linalg.norm(atoms, axis=1, keepdims=True)], rng.random(len(atoms))))
    return *sides, same / np.linalg.norm(same, axis=1, keepdims=True)


@given(seed=st.integers(0, 10**6), shared=st.integers(0, 12), first=st.integers(1, 12), second=st.integers(1, 12))
def test_directions_that_halves_share_do_not_depend_on_their_order(seed, shared, first, second):
    a, b, same = halves(seed, shared, first, second)
    stable, swapped = common_directions(a, b, 0.95), common_directions(b, a, 0.95)
    assert len(stable.cosines) == shared
    np.testing.assert_allclose(stable.anchors.w_p, swapped.anchors.w_p, atol=1e-6)
    assert (stable.cosines >= 0.95).all()
    assert (np.diff(stable.energies) <= 0).all()
    if shared:
        assert sorted((stable.anchors.w_p @ same.T).argmax(1)) == list(range(shared))


def test_opposite_directions_are_not_the_same_and_a_site_without_a_part_has_none():
    one, zero = np.eye(2, dtype=np.float32), np.zeros((2, 3), dtype=np.float32)
    energies = np.ones(2)
    assert len(common_directions(Half([one], energies), Half([-one], energies), 0.5).cosines) == 0
    assert len(common_directions(Half([one, zero], energies), Half([one, zero], energies), 0.5).cosines) == 0


def test_the_strongest_directions_come_first_and_too_few_are_refused():
    a, b, _ = halves(0, 6, 3, 4)
    stable = common_directions(a, b, 0.95)
    np.testing.assert_array_equal(stable.strongest(2).w_p, stable.anchors.w_p[:2])
    assert len(stable.strongest(None).w_p) == 6
    with pytest.raises(
        ValueError,
        match=r"only 6 directions are stable, but n_anchors is 7; the .* 9 and 10 atoms: lower n_anchors or min_",
    ):
        stable.strongest(7)
    none = Stable(stable.anchors, stable.cosines[:0], stable.energies[:0], (3, 3))
    with pytest.raises(ValueError, match="only 0 directions are stable, but n_anchors is all"):
        none.strongest(None)
