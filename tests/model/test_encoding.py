import torch

import sdlcore as sdl
from sdlcore.model.encoding import Auxiliary


def test_auxiliary_latents_reconstruct_where_rows_of_the_decoder_are_read_in_blocks():
    coder = sdl.SparseCoder(n_p=64, n_q=2500, activation="topk", k=8)
    x, dead = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(0, 2500, 2)
    with torch.no_grad():
        out = coder(x, auxiliary=Auxiliary(dead, 64))
        values, places = (x @ coder.W_enc[dead].T).topk(64)
        expected = (values.relu()[:, :, None] * coder.W_dec[dead[places]]).sum(1)
    torch.testing.assert_close(out.aux, expected)
