"""Put a dictionary into a language model while it runs.

`splice` is for people. It and the loss recovered (`sdlcore.inside.loss`) both use `replacing`: there is one way.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from sdlcore.inside.edits import Edit, require_latents
from sdlcore.inside.hooks import Place, read_and_write, sites_of
from sdlcore.model.coder import SparseCoder
from sdlcore.sources.language.architectures import Paths
from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.sites import Stack

ROWS_AT_ONCE = 512
"""Tokens whose latents are edited at once: they are dense then."""
Change = Callable[[Tensor, Tensor], Tensor]
"""Takes N x n_p activations where they are read and the N x n_r where they are written, both float32; returns the
N x n_r activations that replace the latter."""
Rows = Callable[[Tensor], Tensor | None]
"""Takes B x T x n_r activations, and returns B x T booleans that are true for tokens to change; None for all."""


@contextmanager
def splice(
    lm: Any,
    layer: int | tuple[int, int],
    coder: SparseCoder,
    edit: Edit | None = None,
    *,
    place: Place | None = None,
    keep_error: bool | None = None,
    first_position: bool = False,
    paths: Paths | None = None,
) -> Iterator[None]:
    """Run a language model with a dictionary in it: ``with splice(lm, 12, coder, steer(724, by=25.0)): ...``.

    Inside the block, every pass of the model goes through the dictionary, also the passes of ``lm.generate``
    with their cache. When the block ends, also by an exception, the model is as before. Splices at several layers nest.

    Parameters
    ----------
    lm
        A decoder-only transformers model.
    layer
        Block, counted from 1: 12 is the residual stream after 12 blocks, transformers' ``hidden_states[12]``. Two of
        them for a transcoder between residual streams.
    coder
        An autoencoder or transcoder, in evaluation mode.
    edit
        ``steer(latent, by=...)``, ``ablate(latents)`` or a function from latents (N x n_q) to latents; None leaves
        them.
    place
        A site for an autoencoder; None for residual. None for a transcoder that reads what enters the MLP and writes
        what leaves it; SITE->SITE for another one.
    keep_error
        True adds the change of the reconstruction to the activations, (edited - latents) @ W_dec, so that what the
        dictionary does not explain stays: steering adds ``by`` decoder rows. False puts the reconstruction from the
        edited latents in the activations' place. None, as the field does: True where there is an edit, False without.
    first_position
        Change the first token of a context too. It is left as it is by default: its activations are an attention sink
        a hundred times as large as the others', on which dictionaries are not trained.
    paths
        Where the modules of a model of an unknown architecture are.

    Raises
    ------
    ValueError
        If the model has no such layer or the dictionary no such latent, widths differ, the dictionary is a crosscoder
        or in training mode, or an edit is no function or returns another shape.
    """
    if edit is not None and not callable(edit):
        raise ValueError(f"edit is {edit!r}, expected steer(latent, by=...), ablate(latents) or a function of latents")
    stack = Stack.of(lm, paths)
    sites = sites_of(coder, stack, layer, place)
    read, write = read_and_write(sites, coder.config.pair)
    require_latents(getattr(edit, "latents", ()), coder.config.n_q)
    keep = edit is not None if keep_error is None else keep_error

    def change(x_NP: Tensor, x_NR: Tensor) -> Tensor:
        device = coder.W_enc.device
        return edited(coder, x_NP.to(device), x_NR.to(device), edit, keep).to(x_NR.device)

    with ExitStack() as hooks:
        rows: Rows = _every if first_position else hooks.enter_context(_all_but_the_first(stack.model))
        hooks.enter_context(replacing(stack, read, write, change, rows))
        yield


def edited(coder: SparseCoder, x_NP: Tensor, x_NR: Tensor, edit: Edit | None, keep_error: bool) -> Tensor:
    """Return the activations (N x n_r) that a dictionary and an edit make of N tokens.

    Parameters
    ----------
    coder
        The dictionary.
    x_NP, x_NR
        The activations that it reads, and the activations where it writes.
    edit, keep_error
        As for `splice`.
    """
    parts = []
    for read_NP, written_NR in zip(x_NP.split(ROWS_AT_ONCE), x_NR.split(ROWS_AT_ONCE), strict=True):
        out = coder(read_NP)
        base_NR = written_NR if keep_error else out.x_hat
        parts.append(base_NR if edit is None else base_NR + _difference(coder, out.latents(), edit))
    return torch.cat(parts)


def _difference(coder: SparseCoder, latents_NQ: Tensor, edit: Edit) -> Tensor:
    """Return the change of the reconstruction by an edit (N x n_r): exactly zero where it leaves latents alone."""
    changed_NQ = edit(latents_NQ.clone())
    if not isinstance(changed_NQ, Tensor) or changed_NQ.shape != latents_NQ.shape:
        found = tuple(changed_NQ.shape) if isinstance(changed_NQ, Tensor) else type(changed_NQ).__name__
        raise ValueError(f"an edit must return latents of shape {tuple(latents_NQ.shape)}, found {found}")
    difference_NQ = changed_NQ - latents_NQ
    columns = difference_NQ.any(0).nonzero().squeeze(1)  # few latents, so few rows of the decoder
    return difference_NQ[:, columns] @ coder.W_dec[columns]


@contextmanager
def replacing(stack: Stack, read: Site, write: Site, change: Change, rows: Rows) -> Iterator[None]:
    """Replace, in every pass of a model, the activations at ``write`` by a change of the activations at ``read``.

    Parameters
    ----------
    stack
        The model.
    read, write
        Where; ``read`` is the same place or one before.
    change
        What takes the place of the activations; it gets and gives float32, whatever the model computes in.
    rows
        Which tokens it is asked for. The others stay as they are.
    """
    was_read: list[Tensor] = []

    def look(x_BTP: Tensor) -> None:
        was_read[:] = [x_BTP]

    def replace(x_BTR: Tensor) -> Tensor | None:
        if read != write and not was_read:
            raise ValueError(
                f"a transcoder that reads at {read.part} cannot be spliced in at {write.part}: a pass is there first"
            )
        source = was_read.pop() if read != write else x_BTR
        which_BT = rows(x_BTR)
        if which_BT is None:
            which_BT = torch.ones(x_BTR.shape[:2], dtype=torch.bool, device=x_BTR.device)
        source_NP, x_NR = source.to(x_BTR.device)[which_BT], x_BTR[which_BT]
        changed = x_BTR.clone()
        changed[which_BT] = change(source_NP.float(), x_NR.float()).to(x_BTR.dtype)
        return changed

    with ExitStack() as watches:
        if read != write:
            watches.enter_context(stack.watch(read, look))
        watches.enter_context(stack.watch(write, replace))
        yield


def _every(_: Tensor) -> None:
    return None


@contextmanager
def _all_but_the_first(model: Any) -> Iterator[Rows]:
    """Yield a function that returns which tokens of a pass (B x T) are not at position 0 of their context."""
    known: Mapping[str, Any] = {}

    def note(_: Any, __: Any, arguments: Mapping[str, Any]) -> None:
        nonlocal known
        mask = arguments.get("attention_mask")
        known = {"positions": arguments.get("position_ids"), "mask": mask, "past": _past(arguments)}

    def rows(x_BTD: Tensor) -> Tensor:
        B, T = x_BTD.shape[:2]
        positions, mask = known["positions"], known["mask"]
        if positions is None and isinstance(mask, Tensor) and mask.ndim == 2:  # of the cache's tokens, too
            positions = mask.long().cumsum(1)[:, -T:] - 1
        if positions is None:
            positions = known["past"] + torch.arange(T)
        return (positions > 0).to(x_BTD.device).expand(B, T)

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def _past(arguments: Mapping[str, Any]) -> int:
    """Return the number of tokens whose keys and values a pass finds in its cache."""
    for name in ("cache", "past_key_values"):  # what transformers calls it, by release
        cache = arguments.get(name)
        if cache is not None:
            return int(cache.get_seq_length())
    return 0
