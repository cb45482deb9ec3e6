"""Names of TransformerLens and transformers stand for a block, counted from 1, and a site."""

import pytest

from sdlcore.extraction.places import HOOKS, described, hook_names, located

NAMES = [
    ("blocks.11.hook_resid_post", 12, "residual"),
    ("blocks.0.hook_resid_pre", 1, "residual_before"),
    ("blocks.8.hook_mlp_out", 9, "mlp_output"),
    ("model.layers.11", 12, "residual"),
    ("transformer.h.0", 1, "residual"),
    ("gpt_neox.layers.3.attention", 4, "block.attention:output"),
    (("blocks.8.mlp.hook_in", "blocks.8.hook_mlp_out"), 9, "mlp"),
    (("blocks.8.hook_resid_mid", "blocks.8.hook_mlp_out"), 9, "residual_middle->mlp_output"),
    (("model.layers.0", "model.layers.1"), (1, 2), "residual"),
    ((1, "blocks.1.hook_resid_post"), (1, 2), "residual"),
]


@pytest.mark.parametrize(("name", "layer", "place"), NAMES)
def test_a_name_is_a_block_and_a_place(name, layer, place):
    assert located(name, None) == located(name, place) == (layer, place)


@pytest.mark.parametrize("layer", [None, 3, (1, 2), [1, 2]])
def test_numbers_keep_their_meaning(layer):
    assert located(layer, "mlp_output") == (layer, "mlp_output")


@pytest.mark.parametrize(
    ("layer", "place", "message"),
    [
        (
            "12",
            None,
            "layer is '12', expected a block, counted from 1, or a name such as model.layers.11, blocks.11",
        ),
        ("blocks.3.attn.hook_z", None, "layer is 'blocks.3.attn.hook_z', expected"),
        ("blocks.3.hook_mlp_out", "residual", "names the place mlp_output, but the place is residual; name it once"),
        (("blocks.1.hook_mlp_out", "model.layers.2"), None, "names different places in different blocks"),
    ],
)
def test_a_name_that_is_wrong_is_named(layer, place, message):
    with pytest.raises(ValueError, match=message):
        located(layer, place)


@pytest.mark.parametrize("site", HOOKS)
def test_every_hook_comes_back(site):
    (hook,) = hook_names(5, site)
    assert located(hook, None) == (5, site)
    assert hook in described(5, site)
