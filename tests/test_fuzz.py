"""Damaged dictionaries and odd configurations are refused, or read as they were meant: never as something else."""

import copy
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlcore.interop.export import export
from sdlcore.interop.formats import FILES, READ
from sdlcore.interop.load import load
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import save_model
from sdlcore.random_streams import stream
from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, validate
from tests.conftest import REPOSITORY
from tests.interop import models

CASES = 12
"""Number of cases of each kind, each with its own random numbers."""
WRONG: tuple[Any, ...] = (2.9, True, "false", "6", -1, math.nan, math.inf, 10**30, [6], {}, "\x1b[2J")
"""Values of a setting that its library never writes."""
UNUSED = ("dtype", "device", "metadata", "trainer_class", "lm_name", "layer", "submodule_name", "wandb_name", "buffer")
UNUSED_OF = {"sparsify": ("multi_topk", "normalize_decoder", "expansion_factor")}
"""Settings that do not affect a dictionary's output."""
CHANGES = {
    "complex": lambda value: value.to(torch.complex64),
    "integers": lambda value: value.long(),
    "booleans": lambda value: value > 0,
    "NaN": lambda value: torch.full_like(value, math.nan),
    "too large for float32": lambda value: value.double() * 1e300,
    "one row less": lambda value: value[1:],
}


@cache
def written() -> SparseCoder:
    return models.model_of("topk")


def choose(rng: np.random.Generator, *choices: Any) -> Any:
    """Return one of the choices, without conversion."""
    return choices[int(rng.integers(len(choices)))]


def damage(rng: np.random.Generator, path: Path) -> None:
    """Flip bits of a file, truncate it, or put bytes into it."""
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content)))
    how = choose(rng, "flip", "cut", "insert", "append")
    if how == "flip":
        content[at] ^= 1 << int(rng.integers(8))
    elif how == "cut":
        del content[at:]
    else:
        content[at if how == "insert" else len(content) :] += rng.bytes(20)
    path.write_bytes(content)


def loaded(path: Path) -> torch.nn.Module | None:
    """Load a dictionary; return None if it is refused."""
    try:
        return load(path)
    except MemoryError:
        raise
    except Exception:  # libraries' own errors are enough
        return None


@pytest.mark.parametrize("number", range(4 * CASES))
def test_a_damaged_file_of_ours_is_refused_or_unchanged(number, tmp_path):
    rng, path = stream(number, "damage"), tmp_path / "model.safetensors"
    save_model(path, written(), {})
    damage(rng, path)
    if dictionary := loaded(tmp_path):
        for name, value in written().state_dict().items():
            assert torch.equal(dictionary.state_dict()[name], value)


@pytest.mark.parametrize("number", range(CASES))
@pytest.mark.parametrize("name", READ)
def test_a_wrong_setting_of_another_library_is_refused(name, number, tmp_path):
    rng, folder = stream(number, "settings", name), tmp_path / "theirs"
    export(written(), name, folder)
    file = folder / FILES[name][-1]
    content = json.loads(file.read_text())
    settings = content["trainer"] if name == "dictionary_learning" else content
    key = choose(rng, *[key for key in settings if key not in (*UNUSED, *UNUSED_OF.get(name, ()))])
    value = choose(rng, *[value for value in WRONG if not (isinstance(settings[key], bool) and value is True)])
    settings[key] = value
    file.write_text(json.dumps(content))
    assert loaded(folder) is None, (key, value)


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("name", [name for name in READ if FILES[name][0].endswith(".safetensors")])
def test_a_changed_tensor_of_another_library_is_refused(name, what, tmp_path):
    folder = tmp_path / "theirs"
    export(written(), name, folder)
    file = folder / FILES[name][0]
    state = load_file(file)
    for key in [key for key, value in state.items() if value.ndim]:
        save_file({**state, key: CHANGES[what](state[key]).contiguous()}, file)
        assert loaded(folder) is None, key


@pytest.mark.parametrize("number", range(2 * CASES))
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_of_another_library_never_becomes_nan(name, number, tmp_path):
    rng, folder = stream(number, "damage", name), tmp_path / "theirs"
    export(written(), name, folder)
    damage(rng, folder / choose(rng, *FILES[name]))
    if dictionary := loaded(folder):
        assert all(value.isfinite().all() for value in dictionary.state_dict().values())


DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")
VALID = {name: load_yaml(REPOSITORY / f"config/{name}.yaml") for name in ("tiny", "paper", "studies/harder", "peers")}
ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    0,
    -1,
    10**21,
    1e300,
    math.nan,
    True,
    "text",
    "a\nb",
    "../x",
    [[1]],
    {"a": 1},
    0.5,
)


def places(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield every path below a tree."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


@pytest.mark.parametrize("number", range(5 * CASES))
def test_an_odd_configuration_is_refused_by_key_or_means_the_same_when_it_is_written_again(number):
    rng = stream(number, "configuration")
    name, valid = choose(rng, *VALID.items())
    tree = {"name": "fuzz", **copy.deepcopy(valid)}
    *above, last = path = choose(rng, *places(tree))
    parent = tree
    for part in above:
        parent = parent[part]
    parent[last] = choose(rng, *ODD)
    message, config = "", None
    try:
        config = configure(tree, DEFAULT)
    except ConfigError as error:
        message = str(error)
    if config is not None:
        assert validate(config.model_dump()).model_dump() == config.model_dump()
    else:
        key = next(part for part in reversed(path) if isinstance(part, str))
        assert key in message or str(parent[last]) in message, (name, path)


@pytest.mark.parametrize(
    "change", [{"no_such_key": 3}, {"seeds": "text"}, {"name": "a/b"}, {"methods": {"a": {"like": "a"}}}]
)
def test_a_wrong_configuration_is_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        configure({"name": "fuzz", **change}, DEFAULT)
