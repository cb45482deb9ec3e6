"""Test on two threads, and check that sums of decoder rows get the entries of a row in the order of latents."""

import pytest
import torch

from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from tests.two_threads import two_threads as two_threads


@pytest.fixture(autouse=True, scope="module")
def sorted_entries():
    """Refuse entries of a row that are not sorted: only the sum over tiles, of many latents, would be wrong."""
    gather_sum = NumbaKernels.gather_sum

    def checked(self, offsets, columns, values, W):
        rows = torch.repeat_interleave(torch.diff(offsets), output_size=len(columns))
        assert not ((rows[1:] == rows[:-1]) & (torch.diff(columns) < 0)).any(), "entries of a row are not sorted"
        return gather_sum(self, offsets, columns, values, W)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NumbaKernels, "gather_sum", checked)
        yield
