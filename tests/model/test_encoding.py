import torch

import sdlcore as sdl
from sdlcore.model.encoding import Auxiliary, Scales


def test_auxiliary_latents_reconstruct_where_rows_of_the_decoder_are_read_in_blocks():
    coder = sdl.SparseCoder(n_p=64, n_q=2500, activation="topk", k=8)
    x, dead = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(0, 2500, 2)
    with torch.no_grad():
        out = coder(x, auxiliary=Auxiliary(dead, 64))
        values, places = (x @ coder.W_enc[dead].T).topk(64)
        expected = (values.relu()[:, :, None] * coder.W_dec[dead[places]]).sum(1)
    torch.testing.assert_close(out.aux, expected)


def test_a_support_names_the_sample_of_each_entry_where_a_sample_has_several_rows():
    coder = sdl.SparseCoder(n_p=6, n_q=20, activation="topk", k=3)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = coder(x, scales=Scales(prefixes=(8, 20)), auxiliary=Auxiliary(torch.arange(4), 2))
        places = out.support.samples, out.support.columns.long()
        assert out.support.groups == 3
        found = torch.zeros(5, 20).index_put(places, out.values, accumulate=True)
        torch.testing.assert_close(found, coder(x).latents())
