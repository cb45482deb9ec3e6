"""Powers of two that rows are divided by."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.sparse.units import norms_of_rows, units_of_rows


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_unit_is_the_power_of_two_below_the_largest_entry(values):
    x = torch.tensor([values], dtype=torch.float32)
    unit, largest = float(units_of_rows(x)), max(abs(float(value)) for value in x[0])
    if largest == 0:
        assert unit == 1
        return
    assert np.frexp(unit)[0] == 0.5
    assert unit <= largest < 2 * unit
    large = x.abs() > 1e-30 * largest  # smaller entries may have fewer bits in this unit
    assert torch.equal((x.double() / unit)[large], (x / unit).double()[large])


def test_rows_without_a_largest_entry_have_unit_one():
    x = torch.tensor([[0.0, 0.0], [torch.nan, 2.0], [-torch.inf, 2.0], [3.0, -5.0]])
    assert units_of_rows(x).squeeze(1).tolist() == [1, 1, 1, 4]
    assert units_of_rows(x[:0]).shape == (0, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_units_have_the_type_of_rows(dtype):
    unit = units_of_rows(torch.tensor([[0.3, -6.0]], dtype=dtype))
    assert (unit.dtype, unit.tolist()) == (dtype, [[4.0]])


@pytest.mark.parametrize("exponent", [0, -120, 120])
def test_norms_have_the_bits_of_torch_s_at_any_size(exponent):
    x = torch.randn(50, 37, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norms_of_rows(2.0**exponent * x), 2.0**exponent * x.norm(dim=1))
