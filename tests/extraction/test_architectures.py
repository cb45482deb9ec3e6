"""The sites of every architecture in the table, against transformers' hidden states and hooks written by hand."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.extraction import engine
from sdlcore.extraction.config import Site
from sdlcore.extraction.engine import Call
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.places import ARCHITECTURES, SITES, paths_of
from tests.conftest import REPOSITORY
from tests.extraction.tiny_models import CONFIGURATIONS, DEPTH, VOCABULARY, make

IDS = torch.randint(3, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))
LEFT = torch.ones_like(IDS)
LEFT[0, :4] = LEFT[2, :7] = 0
PADDINGS = {"none": None, "left": LEFT, "right": LEFT.flip(1)}

# by hand: blocks, then (module, side) of each site of a block
LLAMA = ("layers", ("self_attn", 1), ("post_attention_layernorm", 0), ("mlp", 0), ("mlp", 1))
GEMMA = (
    "layers",
    *(("post_attention_layernorm", 1), ("pre_feedforward_layernorm", 0), ("mlp", 0), ("post_feedforward_layernorm", 1)),
)
BY_HAND: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(["llama", "mistral", "mixtral", "qwen2", "qwen2 with a window", "qwen3", "qwen3_moe"], LLAMA),
    **dict.fromkeys(["gemma2", "gemma3_text", "gemma4_text"], GEMMA),
    "gemma3": ("language_model.layers", *GEMMA[1:]),
    "gpt_oss": LLAMA,
    "phi": ("layers", ("self_attn", 1), None, ("mlp", 0), ("mlp", 1)),
    "gpt2": ("h", ("attn", 1), ("ln_2", 0), ("mlp", 0), ("mlp", 1)),
    "gpt_neox": ("layers", ("attention", 1), None, ("mlp", 0), ("mlp", 1)),
    "gpt_neox in sequence": ("layers", ("attention", 1), None, ("mlp", 0), ("mlp", 1)),
    **dict.fromkeys(
        ["falcon", "falcon in sequence", "falcon, new"], ("h", ("self_attention", 1), None, ("mlp", 0), ("mlp", 1))
    ),
}
NAMES = ("attention_output", "residual_middle", "mlp_input", "mlp_output")


def hooked(lm: Any, name: str, mask: Tensor | None) -> tuple[dict[Site, Tensor], list[Tensor]]:
    """Return all sites by hooks of our own, and transformers' hidden states."""
    activations: dict[Site, Tensor] = {}

    def keep(site: Site, side: int) -> Any:
        def hook(_: Any, positional: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            x = (output[0] if isinstance(output, tuple) else output) if side else (*positional, *keywords.values())[0]
            activations[site] = x.detach().clone().reshape(*IDS.shape, -1)  # Falcon adds to it in place

        return hook

    blocks, *modules = BY_HAND[name]
    hooks = []
    for number, block in enumerate(lm.base_model.get_submodule(blocks), start=1):
        places = {"residual_before": (block, 0), "residual": (block, 1)}
        for part, place in zip(NAMES, modules, strict=True):
            if place is not None:
                places[part] = (block.get_submodule(place[0]), place[1])
        for part, (module, side) in places.items():
            hooks.append(module.register_forward_hook(keep(Site(number, part), side), with_kwargs=True))
    with torch.inference_mode():
        states = lm(IDS, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
    for hook in hooks:
        hook.remove()
    return activations, list(states)


def _keep(activations: dict[Any, Tensor], key: Any, x: Tensor) -> None:
    activations[key] = x.clone()


def test_the_table_has_no_row_without_a_test():
    assert {config.model_type for config in CONFIGURATIONS.values()} | {"gemma4"} == ARCHITECTURES.keys()


def test_the_page_shows_the_sites_of_every_architecture():
    """The cells that the test below compares with the model are the page's, and no others."""
    lines = (REPOSITORY / "docs/language-models.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("| ")]
    start = next(number for number, row in enumerate(rows) if row[0].startswith("architecture"))
    sites = {}
    for row in rows[start + 1 :]:
        if len(row) != len(SITES) + 1:
            break
        sites |= {kind: dict(zip(rows[start][1:], row[1:], strict=True)) for kind in row[0].split(", ")}
    expected = {}
    for kind in ARCHITECTURES:
        expected[kind] = {part: "yes" if part in ARCHITECTURES[kind].sites else "not there" for part in SITES}
    assert sites == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_site_is_what_the_model_computes_to_the_bit(name: str, dtype: torch.dtype):
    lm = make(name, dtype)
    stack = Stack.of(lm)
    parts_of_stack = stack.paths.sites
    for mask in PADDINGS.values():
        expected, states = hooked(lm, name, mask)
        assert {site.part for site in expected} == set(parts_of_stack)
        activations: dict[Site, Tensor] = {}
        with torch.inference_mode(), ExitStack() as hooks:
            for site in expected:
                hooks.enter_context(stack.watch(site, partial(_keep, activations, site)))
            lm(IDS, attention_mask=mask, use_cache=False)
        for site, x in expected.items():
            assert torch.equal(activations[site], x), site
        for block in range(1, DEPTH + 1):
            assert torch.equal(activations[Site(block, "residual_before")], states[block - 1])
            if block < DEPTH:  # the last one is behind the final norm
                assert torch.equal(activations[Site(block, "residual")], states[block])
            if "residual_middle" in parts_of_stack:
                parts = activations[Site(block, "residual_before")] + activations[Site(block, "attention_output")]
                assert torch.equal(activations[Site(block, "residual_middle")], parts)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_a_watcher_returns_takes_the_activations_place(name: str):
    lm = make(name)
    stack = Stack.of(lm)

    def out() -> Tensor:
        return lm(IDS, use_cache=False).logits

    with torch.inference_mode():
        clean = out()
        for part in stack.paths.sites.keys() - {"residual_middle"}:
            with stack.watch(Site(1, part), lambda x: x.clone()):
                assert torch.equal(out(), clean), part
            with stack.watch(Site(1, part), torch.zeros_like):
                assert not torch.allclose(out(), clean), part


def hooks_of(lm: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.modules())


def rows_at(model: Any, points: dict[str, Any]) -> dict[str, Tensor]:
    """Return the rows at places in the second of two passes."""
    calls = [Call(IDS, None)] * 2
    *_, batch = engine.activations(model, points, calls, lambda x, _: x.flatten(0, -2), "float32")
    return {name: torch.from_numpy(x) for name, x in batch.values.items()}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_pass_ends_behind_the_deepest_site(name: str):
    lm = make(name)
    stack = Stack.of(lm)
    expected, _ = hooked(lm, name, None)
    deepest, before = Site(1, "mlp_output"), hooks_of(lm)  # transformers leaves some of its own
    later: list[int] = []
    counter = stack.blocks[1].register_forward_pre_hook(lambda *_: later.append(1))
    points = {"a": stack.point(Site(1, "residual_before")), "b": stack.point(deepest)}
    activations = rows_at(stack.model, points)
    counter.remove()
    assert not later
    assert torch.equal(activations["a"], expected[Site(1, "residual_before")].flatten(0, -2))
    assert torch.equal(activations["b"], expected[deepest].flatten(0, -2))
    assert hooks_of(lm) == before


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_blocks_behind_the_deepest_place_are_not_needed(name: str):
    lm = make(name)
    expected, _ = hooked(lm, name, None)
    stack, site = Stack.of(lm), Site(1, "residual")
    point = stack.point(site)
    del stack.blocks[1:]
    assert torch.equal(rows_at(stack.model, {"input": point})["input"], expected[site].flatten(0, -2))


@pytest.mark.parametrize("name", ["phi", "gpt_neox"])
def test_a_site_that_an_architecture_does_not_have_is_refused_in_a_sentence(name: str):
    with pytest.raises(
        SourceError, match=r"residual_middle: the blocks .* in parallel, .*; take one of residual_before"
    ):
        Stack.of(make(name)).point(Site(1, "residual_middle"))


def test_an_unknown_architecture_is_refused_in_a_sentence():
    with pytest.raises(SourceError, match=r"^m: the model's architecture is 'mamba', but .* gpt_oss, .*set paths"):
        paths_of("mamba", "m")
