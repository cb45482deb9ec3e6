import torch

from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.encoder import EncoderFit, best_thresholds


def fitted(bench):
    x, atoms = bench.x[:4096], bench.features
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 6), 8)
    fit = EncoderFit(*atoms.shape)
    fit.add(x, codes)
    return fit.solve(), codes


def test_it_reconstructs_samples_that_it_was_not_fitted_to_better_than_the_tied_one(bench):
    encoder, _ = fitted(bench)
    x, atoms = bench.x[4096:], bench.features

    def error(W, b, threshold):
        pre = x @ W.T + b
        return float((x - torch.where(pre > threshold, pre, 0.0) @ atoms).square().sum() / x.square().sum())

    assert error(*encoder) < 0.1
    for threshold in (0.0, 0.2, 0.4, 0.6, 0.8):
        assert error(*encoder) < error(atoms, 0.0, threshold)
    assert bool((encoder.threshold >= 0).all())


def test_thresholds_are_those_of_a_search_over_all_samples():
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(200, 5, generator=generator).relu()
    z = c + 0.5 * torch.randn(200, 5, generator=generator)
    thresholds = best_thresholds(z, c)

    def error(threshold):
        return (torch.where(z > threshold, z, 0.0) - c).square().sum(0)

    everything = torch.stack([error(torch.full((5,), float(t))) for t in [0.0, *z[z > 0].tolist(), 9.0]])
    torch.testing.assert_close(error(thresholds), everything.amin(0))


def test_a_common_mean_changes_only_biases_however_large_it_is(bench):
    """Both fits see the same samples minus their mean, to the bit, so rows and thresholds are equal.

    Multiples of 1/16 make that exact. The sum of 512 samples below 2^10 needs 9 + 10 + 4 bits of float32's 24, in any
    order of additions. The mean needs 10 + 13 bits, and so does a sample minus that mean.
    """
    atoms, shift = bench.features, (1000 * torch.linspace(-1, 1, bench.x.shape[1])).round()
    near, far = EncoderFit(*atoms.shape), EncoderFit(*atoms.shape)
    for x in (bench.x[:1024] * 16).round().div(16).split(512):
        codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 6), 8)
        near.add(x, codes)
        far.add(x + shift, codes)
    (W, b, threshold), moved = near.solve(), far.solve()
    assert torch.equal(moved.W, W)
    assert torch.equal(moved.threshold, threshold)
    # each bias is rounded once, to half a unit in its last place
    error = (moved.b.double() + W.double() @ shift.double() - b.double()).abs()
    assert float(moved.b.abs().max()) > 500
    assert bool((error <= 1.001 * 2.0**-24 * (moved.b.abs() + b.abs())).all())


def test_a_read_out_that_says_nothing_is_never_active():
    z = torch.tensor([[1.0], [2.0], [0.5]])
    assert bool((z < best_thresholds(z, torch.zeros(3, 1))).all())
    assert bool((-z < best_thresholds(-z, z)).all())


def test_parts_of_the_samples_are_added_up(bench):
    _, codes = fitted(bench)
    whole, parts = EncoderFit(40, 32), EncoderFit(40, 32)
    whole.add(bench.x[:4096], codes)
    for _ in range(2):
        parts.add(bench.x[:4096], codes)
    for one, other in zip(whole.solve(), parts.solve(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
