"""Put a dictionary into a language model while it runs.

`splice` is the public interface. Both `splice` and the loss recovered (`sdlcore.inside.loss`) use `replacing`, so the
model is changed in the same way.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths
from sdlcore.extraction.config import Site
from sdlcore.extraction.hooks import Stack
from sdlcore.inside.edits import Edit, require_latents
from sdlcore.inside.hooks import Place, read_and_write, require_width, sites_of
from sdlcore.model.coder import SparseCoder

ROWS_AT_ONCE = 512
"""Largest number of tokens to edit at once, since edited latents are a dense matrix."""
Change = Callable[[Tensor, Tensor], Tensor]
"""A function of the N x n_p activations at the site it reads and the N x n_r activations at the site it writes. It
returns N x n_r activations to write. All are float32."""
Rows = Callable[[Tensor], Tensor | None]
"""A function from B x T x n_r activations to B x T booleans: true for tokens to change. None for all tokens."""


@contextmanager
def splice(
    lm: Any,
    layer: int | tuple[int, ...],
    coder: SparseCoder,
    edit: Edit | None = None,
    *,
    place: Place | None = None,
    keep_error: bool | None = None,
    first_position: bool = False,
    paths: Paths | None = None,
) -> Iterator[Any]:
    """Run a language model with a dictionary in it. Arguments and errors as in `sdlcore.splice`.

    Inside the block, every pass of the model goes through the dictionary, including the passes of ``lm.generate`` with
    their cache. The end of the block, or an exception in it, restores the model.
    """
    stack = Stack.of(lm, paths)
    sites = sites_of(coder, stack, layer, place)
    read, write = read_and_write(sites, coder.config.pair)
    require_latents(getattr(edit, "latents", ()), coder.config.n_q)
    keep = edit is not None if keep_error is None else keep_error

    def change(x_NP: Tensor, x_NR: Tensor) -> Tensor:
        device = coder.W_enc.device
        return edited_activations(coder, x_NP.to(device), x_NR.to(device), edit, keep).to(x_NR.device)

    with ExitStack() as hooks:
        rows: Rows = _every if first_position else hooks.enter_context(_all_but_the_first(stack.model))
        hooks.enter_context(replacing(stack, read, write, change, rows))
        yield lm


def edited_activations(coder: SparseCoder, x_NP: Tensor, x_NR: Tensor, edit: Edit | None, keep_error: bool) -> Tensor:
    """Return the activations (N x n_r) of N tokens after a dictionary and an edit changed them.

    ``x_NP`` are the activations at the site that the dictionary reads, and ``x_NR`` those at the site that it writes.
    ``edit`` and ``keep_error`` are as for `splice`.
    """
    require_width(coder, x_NP)
    parts = []
    for read_NP, written_NR in zip(x_NP.split(ROWS_AT_ONCE), x_NR.split(ROWS_AT_ONCE), strict=True):
        out = coder(read_NP)
        base_NR = written_NR if keep_error else out.x_hat
        parts.append(base_NR if edit is None else base_NR + _difference(coder, out.latents(), edit))
    return torch.cat(parts)


def _difference(coder: SparseCoder, latents_NQ: Tensor, edit: Edit) -> Tensor:
    """Return the change of the reconstruction by an edit (N x n_r). It is exactly zero for unchanged latents."""
    changed_NQ = edit(latents_NQ.clone())
    if not isinstance(changed_NQ, Tensor) or changed_NQ.shape != latents_NQ.shape:
        result = tuple(changed_NQ.shape) if isinstance(changed_NQ, Tensor) else type(changed_NQ).__name__
        raise ValueError(f"an edit must return latents of shape {tuple(latents_NQ.shape)}, found {result}")
    difference_NQ = changed_NQ - latents_NQ
    columns = difference_NQ.any(0).nonzero().squeeze(1)  # an edit changes few latents, so few decoder rows are needed
    return difference_NQ[:, columns] @ coder.W_dec[columns]


@contextmanager
def replacing(stack: Stack, read: Site, write: Site, change: Change, rows: Rows) -> Iterator[None]:
    """Replace the activations at ``write``, in every pass of a model, by a function of the activations at ``read``.

    Parameters
    ----------
    stack
        The model.
    read, write
        Sites; ``read`` is the same place as ``write`` or an earlier one.
    change
        The function. Its arguments and result are float32 in a model of any precision.
    rows
        The tokens to change. Other tokens stay unchanged.

    Raises
    ------
    SourceError
        In a pass that ends without calling the module at ``write``.
    ValueError
        In a pass that reaches ``write`` before ``read``, or if ``change`` returns another width.
    """
    was_read: list[Tensor] = []
    is_replaced = False

    def look(x_BTP: Tensor) -> None:
        was_read[:] = [x_BTP]

    def start(*_: Any) -> None:
        nonlocal is_replaced
        is_replaced = False

    def finish(*_: Any) -> None:
        if not is_replaced:
            raise SourceError(
                f"{stack.name}: this pass of the model did not reach {write.part}, so nothing was replaced; choose "
                "another place"
            )

    def replace(x_BTR: Tensor) -> Tensor | None:
        nonlocal is_replaced
        is_replaced = True
        if read != write and not was_read:
            raise ValueError(
                f"a transcoder that reads at {read.part} cannot be spliced in at {write.part}, which runs first"
            )
        source = was_read.pop() if read != write else x_BTR
        which_BT = rows(x_BTR)
        if which_BT is None:
            which_BT = torch.ones(x_BTR.shape[:2], dtype=torch.bool, device=x_BTR.device)
        source_NP, x_NR = source.to(x_BTR.device)[which_BT], x_BTR[which_BT]
        replaced_NR = change(source_NP.float(), x_NR.float())
        if replaced_NR.shape != x_NR.shape:
            raise ValueError(
                f"the dictionary writes activations of width {replaced_NR.shape[1]}, but the activations at "
                f"{write.part} have width {x_NR.shape[1]}; use the place that it was trained on"
            )
        changed = x_BTR.clone()
        changed[which_BT] = replaced_NR.to(x_BTR.dtype)
        return changed

    with ExitStack() as watches:
        if read != write:
            watches.enter_context(stack.watch(read, look))
        watches.enter_context(stack.watch(write, replace))
        watches.callback(stack.model.register_forward_pre_hook(start).remove)
        watches.callback(stack.model.register_forward_hook(finish).remove)
        yield


def _every(_: Tensor) -> None:
    return None


@contextmanager
def _all_but_the_first(model: Any) -> Iterator[Rows]:
    """Yield a function that returns the tokens of a pass (B x T) that are not at position 0 of their context."""
    inputs: Mapping[str, Any] = {}

    def note(_: Any, __: Any, arguments: Mapping[str, Any]) -> None:
        nonlocal inputs
        mask = arguments.get("attention_mask")
        inputs = {"positions": arguments.get("position_ids"), "mask": mask, "past": _past(arguments)}

    def rows(x_BTD: Tensor) -> Tensor:
        B, T = x_BTD.shape[:2]
        positions, mask = inputs["positions"], inputs["mask"]
        if positions is None and isinstance(mask, Tensor) and mask.ndim == 2:  # the mask includes the cache's tokens
            positions = mask.long().cumsum(1)[:, -T:] - 1
        if positions is None:
            positions = inputs["past"] + torch.arange(T)
        return (positions > 0).to(x_BTD.device).expand(B, T)

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def _past(arguments: Mapping[str, Any]) -> int:
    """Return the number of tokens with keys and values in the cache of a pass."""
    for name in ("cache", "past_key_values"):  # the name depends on transformers' release
        cache = arguments.get(name)
        if cache is not None:
            return int(cache.get_seq_length())
    return 0
