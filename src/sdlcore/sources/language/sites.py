"""Read or replace activations at a place in a language model.

Blocks are counted from 1. The residual stream after block k is transformers' ``hidden_states[k]``, the input of
``layers[k]``, and the output of ``layers[k - 1]``, to which block k's MLP, ``layers[k - 1].mlp``, has added. For the
last block, transformers gives the stream after the final norm; here it is that before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sdlcore.sources.language.settings import Site


def blocks(model: Any) -> Any:
    """Return the blocks of a stack: ``layers`` of Llama and its kin, ``h`` of GPT-2; None where there are neither."""
    return getattr(model, "layers", getattr(model, "h", None))


def watch(model: Any, site: Site, see: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call ``see`` with the activations at ``site`` (B x T x D) in every pass; what it returns takes their place.

    Parameters
    ----------
    model
        The stack of blocks of a model, see `blocks`.
    site
        Where.
    see
        Returns None to leave the activations as they are.
    """
    block = blocks(model)[site.block - 1]
    if site.part == "mlp_input":

        def before(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
            replaced = see(arguments[0])
            return None if replaced is None else (replaced, *arguments[1:])

        return block.mlp.register_forward_pre_hook(before)

    def after(_: Any, __: Any, output: Any) -> Any:
        if not isinstance(output, tuple):
            return see(output)
        replaced = see(output[0])  # blocks of some models give more than the stream, after it
        return None if replaced is None else (replaced, *output[1:])

    return (block if site.part == "residual" else block.mlp).register_forward_hook(after)


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode; at the end each of its modules is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
