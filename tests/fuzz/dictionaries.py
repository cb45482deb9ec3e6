"""Dictionaries in every supported format: intact, damaged, or crafted to be misread or to exhaust memory.

Accepted dictionaries must equal the written one, with finite weights.
"""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sdlcore.interop.export import export
from sdlcore.interop.formats import FILES, READ
from sdlcore.interop.load import load
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import save_model
from tests.fuzz.cases import ACCEPTED, REFUSED, Case, Fault, choose, damage, put, refusal
from tests.interop import models

State = dict[str, Any]

WRONG: tuple[Any, ...] = (2.9, True, "false", "6", None, -1, 0, math.nan, math.inf, 10**30, [6], {}, "\x1b[2J")
"""Values of a setting that its library never writes."""
SPARSIFYS_K = 32
"""sparsify's default, for configurations without a value."""
UNUSED = ("dtype", "device", "metadata", "trainer_class", "lm_name", "layer", "submodule_name", "wandb_name", "buffer")
UNUSED_OF = {"sparsify": ("multi_topk", "normalize_decoder", "expansion_factor")}
"""Settings that do not affect a dictionary's output."""


@cache
def model_of(kind: str) -> SparseCoder:
    """Return a dictionary of the given kind."""
    return models.model_of(kind)


def make(rng: np.random.Generator, folder: Path) -> Case:
    """Write a dictionary in some format, and change its settings, its tensors or its bytes, or nothing."""
    name = choose(rng, "sdlcore", "tensors", *READ, *READ)
    kind = choose(rng, "topk", "relu", "jumprelu") if name in ("saelens", "dictionary_learning") else "topk"
    path, files = _written(rng, name, kind, folder / "theirs")
    how = choose(rng, "nothing", "tensors", "tensors", "settings", "settings", "damage", "names of files")
    what, expected = how, None
    if how == "tensors" and name != "sdlcore":
        what, expected = _change_tensors(rng, files[0])
    elif how == "settings" and name in READ:
        what, expected = _change_settings(rng, name, files[-1])
    elif how == "damage":
        what = damage(rng, choose(rng, *files))
    elif how == "names of files":
        file = choose(rng, *files)
        file.unlink()
        what = choose(rng, "a pipe", "a link to itself", "a dangling link")
        put(what, file)
    else:
        expected = ACCEPTED
    options = {"activation": "topk", "k": models.K} if name == "tensors" else {}
    return Case(f"{name} of {kind}, {what}", lambda: _check(path, model_of(kind), options, expected))


def _check(path: Path, written: SparseCoder, options: dict[str, Any], expected: str | None) -> str:
    """Load a dictionary; ``expected`` is the required outcome, or None if both are right."""
    try:
        dictionary = load(path, **options)
    except ValueError as error:
        if expected == ACCEPTED:
            raise Fault(f"a plain dictionary is refused: {error}") from error
        if "\x1b" in str(error):
            raise Fault(f"an error has escape sequences: {error!s:.300}") from error
        return refusal(error, [path.name, "theirs"])
    if expected == REFUSED:
        raise Fault("was accepted")
    state = dictionary.state_dict()
    if not all(value.isfinite().all() for value in state.values()):
        raise Fault("was accepted with NaN or infinity")
    if expected == ACCEPTED and not torch.allclose(dictionary.W_dec, written.W_dec):
        raise Fault("has another decoder than was written")
    if dictionary.config.k not in (None, models.K, SPARSIFYS_K):
        raise Fault(f"has k = {dictionary.config.k}, {models.K} was written")
    return ACCEPTED


def _written(rng: np.random.Generator, name: str, kind: str, folder: Path) -> tuple[Path, list[Path]]:
    """Write a dictionary; return what to load, and its files, the weights first."""
    if name == "sdlcore":
        folder.mkdir()
        save_model(folder / "model.safetensors", model_of(kind), {})
        return folder, [folder / "model.safetensors"]
    if name == "tensors":
        folder.mkdir()
        state = model_of(kind).state_dict()
        path = folder / choose(rng, "a.npz", "a.safetensors")
        if path.suffix == ".npz":
            np.savez(path, **{key: value.numpy() for key, value in state.items()})
        else:
            save_file(state, path)
        return path, [path]
    export(model_of(kind), name, folder)
    return folder, [folder / file for file in FILES[name]]


def _change_settings(rng: np.random.Generator, name: str, file: Path) -> tuple[str, str | None]:
    """Give a setting a value of another type, or omit it; return a description and the required outcome."""
    content = json.loads(file.read_text())
    settings = content["trainer"] if name == "dictionary_learning" else content
    key = choose(rng, *settings)
    flag = isinstance(settings[key], bool)
    value = choose(rng, *[value for value in WRONG if not (flag and isinstance(value, bool))], "missing")
    if value == "missing":
        del settings[key]
    else:
        settings[key] = value
    file.write_text(json.dumps(content))
    unused = key in (*UNUSED, *UNUSED_OF.get(name, ()))
    # settings that are missing or null have defaults, as has sparsify's number of latents if it is 0
    either = value in (None, "missing") or (key == "num_latents" and value == 0)
    return f"{key} is {str(value)[:20]!r}", ACCEPTED if unused else None if either else REFUSED


def _change_tensors(rng: np.random.Generator, file: Path) -> tuple[str, str | None]:
    """Change one tensor of a weight file; return a description and the required outcome."""
    state: State = {}
    if file.suffix == ".pt":
        state = dict(torch.load(file))
    elif file.suffix == ".npz":
        with np.load(file) as arrays:
            state = {name: torch.from_numpy(values) for name, values in arrays.items()}
    else:
        state = load_file(file)
    name = choose(rng, *[name for name, value in state.items() if value.ndim])
    what = choose(rng, *CHANGES)
    changed = CHANGES[what](state[name])
    if what == "named twice":
        state[name.swapcase()] = changed
    elif what == "an odd name":
        state["\x1b[2J\u202e" + "x" * 5000] = changed
    elif what == "missing":
        del state[name]
    elif what == "none":
        state = {}
    else:
        state[name] = changed
    _save(state, file)
    # plain tensors need no biases, and may have either dimension first
    return f"{name}: {what}", None if what in ("missing", "transposed") else REFUSED


def _save(state: State, file: Path) -> None:
    if file.suffix == ".pt":
        torch.save(state, file)
    elif file.suffix == ".npz":
        # float8, which numpy lacks, as raw bytes
        plain = {
            name: value.view(torch.uint8) if "float8" in str(value.dtype) else value for name, value in state.items()
        }
        np.savez_compressed(file, **{name: value.numpy() for name, value in plain.items()})
    else:
        save_file({name: value.contiguous().clone() for name, value in state.items()}, file)


def _set(value: Tensor, number: float) -> Tensor:
    changed = value.double()
    changed.flatten()[0] = number
    return changed


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "complex": lambda value: value.to(torch.complex64),
    "float8": lambda value: value.to(torch.float8_e4m3fn),
    "uint16": lambda value: value.to(torch.uint16),
    "integers": lambda value: value.long(),
    "booleans": lambda value: value > 0,
    "NaN": lambda value: _set(value, math.nan),
    "too large for float32": lambda value: _set(value, 1e300),
    "one row less": lambda value: value[1:],
    "transposed": lambda value: value.mT if value.ndim > 1 else value[None],
    "empty": lambda value: torch.empty(10**9, 0),
    "expanded": lambda value: torch.zeros(1).expand(300, 1000),
    "named twice": lambda value: 2 * value,
    "an odd name": lambda value: value + 1,
    "missing": lambda value: value,
    "none": lambda value: value,
}
"""Changes of a tensor. `expanded` survives only in pickles."""
