"""Bounds that would allow a search to skip products."""

import pytest
import torch

from benchmarks.skipping import SHARES, bounds, grouped, main


def test_every_bound_is_one():
    generator = torch.Generator().manual_seed(0)
    x, W, b = (torch.randn(*shape, generator=generator) for shape in ((40, 24), (320, 24), (320,)))
    pre = x.double() @ W.double().T + b.double()
    every_bound = list(bounds(x, W, b))
    assert len({(bound.name, bound.cost) for bound in every_bound}) == 2 + len(SHARES)
    for bound in every_bound:
        assert (bound.values >= pre - 1e-4).all(), bound.name
        assert (bound.values < pre + 100).all(), bound.name


def test_more_principal_directions_exclude_more():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 24, generator=generator) * 0.7 ** torch.arange(24)
    W, b = torch.randn(320, 24, generator=generator), torch.zeros(320)
    widths = [bound.values.sum() for bound in bounds(x, W, b) if bound.name == "principal directions"]
    assert widths == sorted(widths, reverse=True)


def test_rows_are_in_the_group_of_the_nearest_centre():
    W = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    group, centres = grouped(W, 7)
    distances = (W[:, None] - centres).norm(dim=2)
    assert torch.equal(distances.argmin(1), group)
    assert len(group.unique()) == 7


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(ValueError, match="lrb/topk/best/none/seed0"):
        main(["--results", str(tmp_path), "--csv", str(tmp_path / "skipping.csv")])
