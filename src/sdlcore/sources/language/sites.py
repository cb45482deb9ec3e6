"""Places in a language model where activations pass, to be read or replaced there.

Blocks are counted from 1. The residual stream after block k is transformers' ``hidden_states[k]``, the input of
``layers[k]``, and the output of ``layers[k - 1]``, to which block k's MLP, ``layers[k - 1].mlp``, has added. For the
last block, transformers gives the stream after the final norm; here it is that before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.hooks import RemovableHandle


class Site(NamedTuple):
    """One place."""

    block: int
    """Counted from 1."""
    part: str
    """residual (the stream after the block), mlp_input (after the norm before the block's MLP) or mlp_output."""

    def describe(self) -> str:
        """Return what it is in terms of transformers."""
        if self.part == "residual":
            return (
                f"hidden_states[{self.block}]: the residual stream after {self.block} blocks, i.e. the input of block "
                f"index {self.block} (the first block has index 0), before any final norm"
            )
        if self.part == "mlp_input":
            return f"the input of layers[{self.block - 1}].mlp, i.e. of the MLP of block {self.block}, after its norm"
        return f"the output of layers[{self.block - 1}].mlp, before it is added to the residual stream"


def sites_of(site: str, layer: int, layers: tuple[int, ...] | None) -> tuple[Site, Site | None]:
    """Return the sites of input and target that settings of a source name; the target is None where there is none."""
    if layers is not None:
        return Site(layers[0], "residual"), Site(layers[1], "residual")
    if site == "mlp":
        return Site(layer, "mlp_input"), Site(layer, "mlp_output")
    return Site(layer, "residual"), None


def watch(model: Any, site: Site, see: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call ``see`` with the activations at ``site`` (B x T x D) in every pass; what it returns takes their place.

    Parameters
    ----------
    model
        The stack of blocks of a Llama-family model.
    site
        Where.
    see
        Returns None to leave the activations as they are.
    """
    block = model.layers[site.block - 1]
    if site.part == "mlp_input":

        def before(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
            replaced = see(arguments[0])
            return None if replaced is None else (replaced, *arguments[1:])

        return block.mlp.register_forward_pre_hook(before)

    def after(_: Any, __: Any, output: Tensor) -> Tensor | None:
        return see(output)

    return (block if site.part == "residual" else block.mlp).register_forward_hook(after)
