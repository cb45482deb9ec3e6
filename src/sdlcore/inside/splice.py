"""Put a dictionary into a language model while it runs.

Both `splice` and the loss recovered (`sdlcore.inside.score`) use `replacing`, so the model is changed in the same way.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.errors import SourceError
from sdlcore.extraction.config import Site
from sdlcore.extraction.hooks import Stack, first_tensor
from sdlcore.extraction.models import loaded
from sdlcore.extraction.places import Paths
from sdlcore.inside.hooks import Layer, Place, read_and_write, require_width, sites_of, where_in
from sdlcore.model.coder import SparseCoder

Edit = Callable[[Tensor], Tensor]
"""A function that receives a copy of the latents of N tokens (N x n_q), and returns the latents to replace them."""
ROWS_AT_ONCE = 512
"""Largest number of tokens to edit at once, since edited latents are a dense matrix."""
Change = Callable[[Tensor, Tensor], Tensor]
"""A function of the N x n_p activations at the site it reads and the N x n_r activations at the site it writes. It
returns N x n_r activations to write. All are float32."""
TokenMask = Callable[[Tensor], Tensor]
"""A function from B x T x n_r activations to B x T booleans: true for tokens to change."""


def steer(latent: int, *, by: float) -> Edit:
    """Return an edit for `splice` that adds ``by`` to a latent at every token.

    The activations then change by ``by`` times the latent's decoder row (W_dec). To steer several latents, nest
    splices.

    Parameters
    ----------
    latent
        Number of the latent, from 0 on.
    by
        Amount, in units of the latent's activation. Begin with its largest activation in a text, which its page shows;
        a few times this value breaks the text. A negative number suppresses the latent.

    Returns
    -------
    A function of latents, as in ``with sdl.splice(lm, 12, sae, sdl.steer(724, by=25.0)): ...``. It raises ValueError
    for a latent that the dictionary does not have.
    """

    def edit(latents_NQ: Tensor) -> Tensor:
        latents_NQ[:, latent_numbers(latent, latents_NQ.shape[1])] += by
        return latents_NQ

    return edit


def ablate(latents: int | Iterable[int] | np.ndarray | Tensor) -> Edit:
    """Return an edit that sets latents to zero at every token.

    Parameters
    ----------
    latents
        The number of a latent, from 0 on, or a list, an array or a tensor of numbers. The edit raises ValueError for
        numbers that the dictionary does not have.
    """
    numbers = latent_numbers(latents)

    def edit(latents_NQ: Tensor) -> Tensor:
        latents_NQ[:, latent_numbers(numbers, latents_NQ.shape[1])] = 0
        return latents_NQ

    return edit


def latent_numbers(latents: int | Iterable[int] | np.ndarray | Tensor, n_q: float = math.inf) -> list[int]:
    """Return numbers of latents, each once; ValueError for a number that is not between 0 and ``n_q`` - 1."""
    several = latents.tolist() if isinstance(latents, np.ndarray | Tensor) else latents
    numbers = [operator.index(latent) for latent in (several if isinstance(several, Iterable) else [several])]
    expected = "0 or more" if n_q == math.inf else f"between 0 and {n_q - 1}"
    for latent in numbers:
        if not 0 <= latent < n_q:
            raise ValueError(f"latent must be {expected}, found {latent}")
    return list(dict.fromkeys(numbers))


@contextmanager
def splice(
    lm: Any,
    layer: Layer | None = None,
    dictionary: Dictionary | SparseCoder | None = None,
    edit: Edit | None = None,
    *,
    place: Place | None = None,
    keep_error: bool | None = None,
    first_position: bool = False,
    paths: Paths | Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """Run a language model with a dictionary in it: ``with sdl.splice(lm, 12, sae, sdl.steer(724, by=25.0)): ...``.

    Inside the block, every pass of the model goes through the dictionary, including the passes of ``lm.generate`` with
    their cache. The end of the block, or an exception in it, restores the model. Splices at several layers nest. The
    ``with`` statement gives the model: ``with sdl.splice("models/my-llama.gguf", 12, sae) as lm: ...``.

    Parameters
    ----------
    lm
        A decoder-only transformers model, or its name, as in `extract`. A named model is loaded to the dictionary's
        device; ``AutoTokenizer.from_pretrained(lm.name_or_path)`` loads its tokenizer.
    layer
        Block, counted from 1, or a name of its place: ``blocks.11.hook_resid_post`` (TransformerLens) and
        ``model.layers.11`` (transformers) are layer 12. Two of them for a transcoder between residual streams. None for
        the layer in the dictionary's provenance, which `fit` and the pipeline record for a language model's store. A
        layer or place that differs from the recorded one brings a warning.
    dictionary
        An autoencoder or transcoder.
    edit
        `steer`, `ablate`, or a function from latents (N x n_q) to latents; None puts the reconstruction in.
    place
        A site for an autoencoder, as for `extract`; None for residual.
    keep_error
        True adds the change of the reconstruction, (edited - latents) @ W_dec, to the activations. The reconstruction
        error stays in them, and steering adds ``by`` times a decoder row. False replaces the activations by the
        reconstruction from the edited latents. None follows common practice: True with an edit, False without.
    first_position
        Change the first token of a context, too. By default it stays unchanged. Its activations are an attention sink,
        a hundred times as large as others, and dictionaries are not trained on them.
    paths
        Where the modules of an unknown architecture are (`sdlcore.extraction.places.Paths`).

    Raises
    ------
    ValueError
        If the layer or a latent does not exist, widths differ, or the dictionary is a crosscoder or in training mode.
        Also if an edit is not a function or returns another shape, or neither the call nor the provenance names a
        layer.
    SourceError
        In a pass of the model that does not reach the place.
    """
    if dictionary is None:
        raise ValueError("dictionary is missing; call splice(lm, layer, dictionary)")
    coder, where = coder_of(dictionary), where_in(dictionary, layer, place)
    if isinstance(lm, str | Path):
        lm, _ = loaded(lm, None, coder.W_enc.device)
    stack = Stack.of(lm, paths)
    read, write = read_and_write(sites_of(coder, stack, **where), coder.config.pair)
    keep = edit is not None if keep_error is None else keep_error

    def change(x_NP: Tensor, x_NR: Tensor) -> Tensor:
        require_width(coder, x_NP)
        device, parts = coder.W_enc.device, []
        for read_NP, written_NR in zip(x_NP.split(ROWS_AT_ONCE), x_NR.split(ROWS_AT_ONCE), strict=True):
            out = coder(read_NP.to(device))
            base_NR = written_NR.to(device) if keep else out.x_hat
            parts.append(base_NR if edit is None else base_NR + _difference(coder, out.latents(), edit))
        return torch.cat(parts).to(x_NR.device)

    with ExitStack() as hooks:
        rows = _every if first_position else hooks.enter_context(_all_but_the_first(stack.model))
        hooks.enter_context(replacing(stack, read, write, change, rows))
        yield lm


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
def replacing(stack: Stack, read: Site, write: Site, change: Change, rows: TokenMask) -> Iterator[None]:
    """Replace the activations at ``write``, in every pass of a model, by a function of the activations at ``read``.

    ``read`` is the same site as ``write`` or an earlier one. ``rows`` are the tokens to change. The function's
    arguments and result are float32 in a model of any precision. A pass raises SourceError if it ends without calling
    the module at ``write``, and ValueError if it reaches ``write`` before ``read`` or ``change`` returns another width.
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

    def replace(x_BTR: Tensor) -> Tensor:
        nonlocal is_replaced
        is_replaced = True
        if read != write and not was_read:
            raise ValueError(
                f"a transcoder that reads at {read.part} cannot be spliced in at {write.part}, which runs first"
            )
        source = was_read.pop() if read != write else x_BTR
        which_BT = rows(x_BTR)
        x_NR = x_BTR[which_BT]
        replaced_NR = change(source.to(x_BTR.device)[which_BT].float(), x_NR.float())
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


def _every(x_BTD: Tensor) -> Tensor:
    return torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)


@contextmanager
def _all_but_the_first(model: Any) -> Iterator[TokenMask]:
    """Yield a function that returns the tokens of a pass (B x T) that are not at position 0 of their context."""
    positions: Any = None

    def note(_: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        nonlocal positions
        positions, mask = keywords.get("position_ids"), keywords.get("attention_mask")
        if positions is None and isinstance(mask, Tensor) and mask.ndim == 2:  # the mask includes the cache's tokens
            positions = mask.long().cumsum(1) - 1
        elif positions is None:
            caches = (keywords.get(name) for name in ("cache", "past_key_values"))  # by transformers' release
            past = next((int(cache.get_seq_length()) for cache in caches if cache is not None), 0)
            positions = torch.arange(past, past + first_tensor(inputs, keywords)[1].shape[1])

    def rows(x_BTD: Tensor) -> Tensor:
        B, T = x_BTD.shape[:2]
        return (positions[..., -T:] > 0).to(x_BTD.device).expand(B, T)

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()
