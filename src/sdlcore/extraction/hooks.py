"""Read or replace activations at a site in a language model.

Blocks are counted from 1. The residual stream after block k is ``hidden_states[k]`` in transformers, the input of the
next block. For the last block, transformers returns the stream after the final norm, but sdlcore reads it before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths, lacking, module_of, paths_of
from sdlcore.extraction.config import Site

See = Callable[[Tensor], Tensor | None]
"""A function of B x T x D activations. It returns their replacement, or None to leave them unchanged."""


class Stack(NamedTuple):
    """A language model without its unembedding, and the paths of its modules."""

    model: Any
    paths: Paths
    name: str
    """Name of the model, for messages."""

    @property
    def blocks(self) -> nn.ModuleList:
        return self.model.get_submodule(self.paths.blocks)

    @property
    def width(self) -> int:
        """Dimension of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @classmethod
    def of(cls, lm: Any, paths: Paths | None = None) -> "Stack":
        """Return the stack of a transformers model.

        Raises
        ------
        SourceError
            If the architecture is unknown and no paths are given, or the paths lead to no list of blocks.
        """
        require_model(lm)
        name = lm.name_or_path or type(lm).__name__
        paths = paths_of(lm.config.to_dict(), paths, name)
        stack = cls(getattr(lm, "base_model", lm), paths, name)
        try:
            blocks = stack.blocks
        except AttributeError as error:
            raise SourceError(f"{name}: paths.blocks is {paths.blocks}, which does not exist; correct it") from error
        if not isinstance(blocks, nn.ModuleList) or not len(blocks):
            raise SourceError(f"{name}: {paths.blocks} is {type(blocks).__name__}, expected a list of blocks")
        return stack

    def require(self, site: Site) -> None:
        """Raise an error if the model lacks a site.

        Raises
        ------
        SourceError
            With the name of the site and an alternative.
        """
        depth = len(self.blocks)
        if site.block > depth:
            raise SourceError(
                f"{self.name}: layer is {site.block}, but the model has {depth} blocks; take at most {depth}"
            )
        self._module(site)

    def watch(self, site: Site, see: See) -> ExitStack:
        """Call ``see`` with the activations at a site in every pass, until the returned stack is closed.

        Some modules flatten their activations from B x T x D to N x D. ``see`` always receives B x T x D.
        """
        module, side = self._module(site)
        hooks = ExitStack()
        shape: list[int] = []

        def note(_: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
            shape[:] = _first(arguments, keywords)[1].shape[:2]

        def see_BTD(x: Tensor) -> Tensor | None:
            if x.ndim == 3 and shape in ([], list(x.shape[:2])):
                return see(x)
            if not shape or x.ndim != 2 or len(x) != shape[0] * shape[1]:
                raise SourceError(
                    f"{self.name}: {site.part} has the shape {tuple(x.shape)}, expected one row for each token; take "
                    "another module"
                )
            replaced = see(x.unflatten(0, shape))
            return None if replaced is None else replaced.flatten(0, 1)

        def before(_: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
            key, x = _first(arguments, keywords)
            replaced = see_BTD(x)
            if replaced is None:
                return None
            if key is None:
                return (replaced, *arguments[1:]), dict(keywords)
            return arguments, {**keywords, key: replaced}

        def after(_: Any, __: Any, output: Any) -> Any:
            if not isinstance(output, tuple):
                return see_BTD(output)
            replaced = see_BTD(output[0])  # attention and some blocks return a tuple that starts with the activations
            return None if replaced is None else (replaced, *output[1:])

        root = self.blocks[site.block - 1] if site.block else self.model
        hooks.callback(root.register_forward_pre_hook(note, with_kwargs=True).remove)
        if side == "input":
            hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        else:
            hooks.callback(module.register_forward_hook(after).remove)
        return hooks

    def ids(self, token: np.ndarray) -> Tensor:
        """Return token ids (B x T) for the model, on its device.

        Raises
        ------
        SourceError
            If the model does not know a token.
        """
        size = self.model.get_input_embeddings().weight.shape[0]
        if (largest := int(token.max(initial=0))) >= size:
            raise SourceError(
                f"{self.name}: the tokenizer returns the token {largest}, but the model knows {size} tokens; take "
                "the tokenizer of this model"
            )
        return torch.from_numpy(token).long().to(self.device)

    def watch_all(self, sites: Mapping[str, Site], see: Callable[[str, Tensor], None]) -> ExitStack:
        """Call ``see`` with the name and the activations at each of several sites in every pass, as `watch` does.

        If one site does not exist, no hook stays on the model.
        """
        with ExitStack() as hooks:
            for name, site in sites.items():
                hooks.enter_context(self.watch(site, partial(see, name)))
            return hooks.pop_all()

    @contextmanager
    def recording(self, count: int) -> Iterator[list[Any]]:
        """Yield a list that receives the outputs of the first blocks in a pass, for `repeating`.

        It stays empty if later blocks of the model read keys and values of earlier ones.
        """
        outputs: list[Any] = []
        with ExitStack() as hooks:
            if not getattr(self.model.config.get_text_config(), "num_kv_shared_layers", 0):
                for block in self.blocks[:count]:
                    hook = block.register_forward_hook(lambda *call: outputs.append(deepcopy(call[-1])))
                    hooks.callback(hook.remove)
            yield outputs

    @contextmanager
    def repeating(self, outputs: Sequence[Any]) -> Iterator[None]:
        """Let the first blocks return outputs of an earlier pass over the same tokens, instead of running."""
        with ExitStack() as restored:
            for block, output in zip(self.blocks, outputs, strict=False):
                restored.callback(_set_forward, block, vars(block).get("forward"))
                _set_forward(block, lambda *_, output=output, **__: deepcopy(output))
            yield

    def _module(self, site: Site) -> tuple[nn.Module, str]:
        """Return the module at a site, and whether the site is the module's input or output."""
        block = self.blocks[site.block - 1] if site.block else None
        if block is not None and site.part in ("residual", "residual_before"):
            return block, "output" if site.part == "residual" else "input"
        path, side = module_of(site.part, self.paths) if site.module is None else site.module
        if path is None:
            raise SourceError(f"{self.name}: {site.part}: {lacking(site.part, self.paths)}")
        root = self.model if block is None else block
        try:
            return root.get_submodule(path), side
        except AttributeError:
            prefix = f"{getattr(self.model, 'base_model_prefix', '')}."
            if block is None and path.startswith(prefix):  # the path may start at the model with its unembedding
                return self._module(site._replace(part=f"{path.removeprefix(prefix)}:{side}"))
        names = [name for name, _ in root.named_modules() if name]
        close = get_close_matches(path, names, n=3) or names[:3]
        where = "the model" if block is None else f"block {site.block}"
        raise SourceError(f"{self.name}: {where} has no module {path}, but {', '.join(close)} and others")


def _set_forward(block: nn.Module, forward: Callable[..., Any] | None) -> None:
    """Replace the ``forward`` of one module; None restores its class's ``forward``."""
    if forward is None:
        del block.forward
    else:
        block.forward = forward


def require_model(lm: Any) -> None:
    """Raise SourceError unless ``lm`` is a language model of transformers."""
    if not hasattr(getattr(lm, "config", None), "to_dict") or not hasattr(lm, "name_or_path"):
        raise SourceError(f"lm is a {type(lm).__name__}, expected a language model of transformers")


def _first(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[str | None, Tensor]:
    """Return the activations among a module's arguments, and their keyword if they have one."""
    if arguments and isinstance(arguments[0], Tensor):
        return None, arguments[0]
    tensors = [key for key, value in keywords.items() if isinstance(value, Tensor)]
    key = next((key for key in ("hidden_states", "input_ids", "inputs_embeds") if key in tensors), tensors[0])
    return key, keywords[key]


class _Enough(Exception):
    """Signal that a pass has reached the last site and can stop."""


class Watch:
    """Read activations at several sites of a model, in passes that stop at the deepest site.

    Parameters
    ----------
    stack
        The model.
    sites
        Name -> site.
    see
        Called with the name and the activations (B x T x D) at each site, in every pass. The model may change them in
        place after the call.
    """

    def __init__(self, stack: Stack, sites: Mapping[str, Site], see: Callable[[str, Tensor], None]) -> None:
        self._stack, self._see, self._names = stack, see, set(sites)
        self._names_seen: set[str] = set()
        self._hooks = stack.watch_all(sites, self._reached)

    def _reached(self, name: str, x_BTD: Tensor) -> None:
        self._see(name, x_BTD)
        self._names_seen.add(name)
        if self._names_seen == self._names:
            raise _Enough

    def run(self, ids_BT: Tensor) -> None:
        """Run the model over tokens, up to the deepest site.

        Raises
        ------
        SourceError
            If the pass never reaches one of the sites.
        """
        self._names_seen.clear()
        with torch.inference_mode(), without_dropout(self._stack.model):
            try:
                self._stack.model(ids_BT, use_cache=False)
            except _Enough:
                return
        missing = ", ".join(sorted(self._names - self._names_seen))
        raise SourceError(
            f"{self._stack.name}: no pass of the model reaches the module of {missing}; choose another site"
        )

    def close(self) -> None:
        """Remove the hooks."""
        self._hooks.close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode; at the end, restore the mode of every module."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
