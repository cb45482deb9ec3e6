"""Read or replace activations at modules of any model, by forward hooks.

`point_at` finds the module that a name denotes. `Stack` finds the sites in the blocks of decoder-only language models.

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
from sdlcore.extraction.config import Site
from sdlcore.extraction.places import ARCHITECTURES, Paths, paths_of, read_name

See = Callable[[Tensor], Tensor | None]
"""A function of activations. It returns their replacement, or None to leave them unchanged."""


class Point(NamedTuple):
    """A place in a model: what enters or leaves a module."""

    module: nn.Module
    side: str
    """input or output."""

    def watch(self, see: See) -> Any:
        """Call ``see`` with the activations in every pass; return the handle that removes the hook."""

        def before(_: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
            key, x = first_tensor(arguments, keywords)
            replaced = see(x)
            if replaced is None:
                return None
            if key is None:
                return (replaced, *arguments[1:]), dict(keywords)
            return arguments, {**keywords, key: replaced}

        def after(_: Any, __: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return see(output)
            replaced = see(output[0])  # attention and some blocks return a tuple that starts with the activations
            return None if replaced is None else (replaced, *output[1:])

        if self.side == "input":
            return self.module.register_forward_pre_hook(before, with_kwargs=True)
        return self.module.register_forward_hook(after)


def first_tensor(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[str | None, Tensor]:
    """Return the activations among a module's arguments, and their keyword if they have one."""
    if arguments and isinstance(arguments[0], Tensor):
        return None, arguments[0]
    tensors = [key for key, value in keywords.items() if isinstance(value, Tensor)]
    key = next((key for key in ("hidden_states", "input_ids", "inputs_embeds") if key in tensors), tensors[0])
    return key, keywords[key]


def point_at(model: nn.Module, name: str) -> Point:
    """Return the place that a name denotes; SourceError, which names similar modules, if the model lacks it.

    The name is the path of a module, whose output is read; PATH:input or PATH:output; or, for a decoder of
    transformers, a name of `sdlcore.extraction.places.read_name`, such as ``resid_post.12``.
    """
    path, _, side = name.partition(":")
    if side not in ("", "input", "output"):
        raise SourceError(f"at: {name} ends in {side}, expected PATH, PATH:input or PATH:output")
    module = _submodule(model, path)
    if module is not None:
        return Point(module, side or "output")
    lm: Any = model
    try:
        site = Site(*read_name(name))
    except ValueError:
        site = None
    if site is None or not is_transformers(lm) or getattr(lm.config, "model_type", None) not in ARCHITECTURES:
        raise SourceError(f"at: {type(model).__name__} has no module {path}, but {_like(model, path)}")
    return Stack.of(model).point(site)


def is_transformers(model: Any) -> bool:
    """Return whether a model is from transformers."""
    return hasattr(getattr(model, "config", None), "to_dict") and hasattr(model, "name_or_path")


def _submodule(root: nn.Module, path: str) -> nn.Module | None:
    """Return a module by its path. It may begin with the name of the inner model, as in ``model.layers.3``."""
    for name in (path, path.removeprefix(f"{getattr(root, 'base_model_prefix', '')}.")):
        try:
            return root.get_submodule(name)
        except AttributeError:
            continue
    return None


def _like(root: nn.Module, path: str) -> str:
    names = [name for name, _ in root.named_modules() if name]
    return f"{', '.join(get_close_matches(path, names, n=3) or names[:3])} and others"


class Stack(NamedTuple):
    """A decoder-only language model of transformers without its unembedding, and the paths of its modules."""

    model: Any
    paths: Paths
    name: str
    """Name of the model, for messages."""

    @property
    def blocks(self) -> Any:
        return _submodule(self.model, self.paths.blocks)

    @classmethod
    def of(cls, lm: Any, paths: Paths | Mapping[str, str] | None = None) -> "Stack":
        """Return the stack of a model. SourceError if its architecture is unknown and no paths are given."""
        paths = Paths.from_dict(paths) if isinstance(paths, Mapping) else paths
        if not is_transformers(lm):
            raise SourceError(f"lm is a {type(lm).__name__}, expected a language model of transformers")
        name = lm.name_or_path or type(lm).__name__
        stack = cls(
            getattr(lm, "base_model", lm), paths or paths_of(getattr(lm.config, "model_type", None), name), name
        )
        if not isinstance(stack.blocks, nn.ModuleList):
            raise SourceError(f"{name}: paths.blocks is {stack.paths.blocks}, expected the path of a list of blocks")
        return stack

    def point(self, site: Site) -> Point:
        """Return the module of a site. SourceError if the model lacks it, with an alternative."""
        depth = len(self.blocks)
        if site.block > depth:
            raise SourceError(
                f"{self.name}: layer is {site.block}, but the model has {depth} blocks; take at most {depth}"
            )
        root = self.blocks[site.block - 1] if site.block else self.model
        sites = self.paths.sites
        if site.module is None and site.part not in sites:
            raise SourceError(
                f"{self.name}: {site.part}: the blocks compute attention and MLP in parallel, or paths lack this site; "
                f"take one of {', '.join(sites)}, or add it to paths"
            )
        path, side = site.module or sites[site.part]
        module = _submodule(root, path)
        if module is None:
            raise SourceError(f"{self.name}: {site.describe()}: there is no module {path}, but {_like(root, path)}")
        return Point(module, side)

    def points(self, sites: Mapping[str, Site]) -> dict[str, Point]:
        """Return the modules of several sites, by name."""
        return {name: self.point(site) for name, site in sites.items()}

    def watch(self, site: Site, see: See) -> ExitStack:
        """Call ``see`` with the activations (B x T x D) at a site in every pass, until the returned stack is closed."""

        def see_BTD(x: Tensor) -> Tensor | None:
            if x.ndim != 3:
                raise SourceError(
                    f"{self.name}: {site.part} has the shape {tuple(x.shape)}, expected contexts x tokens x dimension; "
                    "take another module"
                )
            return see(x)

        hooks = ExitStack()
        hooks.callback(self.point(site).watch(see_BTD).remove)
        return hooks

    def watch_all(self, sites: Mapping[str, Site], see: Callable[[str, Tensor], None]) -> ExitStack:
        """Call ``see`` with the name and the activations at each of several sites, as `watch` does."""
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
        blocks: list[Any] = list(self.blocks[: len(outputs)])
        # None, unless another library has patched the block
        before = [vars(block).get("forward") for block in blocks]
        try:
            for block, output in zip(blocks, outputs, strict=True):
                block.forward = lambda *_, output=output, **__: deepcopy(output)
            yield
        finally:
            for block, forward in zip(blocks, before, strict=True):
                if forward is None:
                    del block.forward
                else:
                    block.forward = forward


def ids_for(model: Any, token: np.ndarray) -> Tensor:
    """Return token ids (B x T) for a model, on its device; SourceError if the model does not know a token."""
    embeddings = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    largest = int(token.max(initial=0))
    if isinstance(embeddings, nn.Embedding) and largest >= embeddings.num_embeddings:
        raise SourceError(
            f"{type(model).__name__}: the tokenizer returns the token {largest}, but the model knows "
            f"{embeddings.num_embeddings} tokens; take the tokenizer of this model"
        )
    return torch.from_numpy(token).long().to(next(model.parameters()).device)


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
