"""Dictionaries of other libraries with a wrong setting or tensor are refused: never read as something else."""

import json
import math
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
from sdlcore.random_streams import stream
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
    "one row less": lambda value: value[1:],
}


@cache
def written() -> SparseCoder:
    return models.model_of("topk")


def choose(rng: np.random.Generator, *choices: Any) -> Any:
    """Return one of the choices, without conversion."""
    return choices[int(rng.integers(len(choices)))]


def loaded(path: Path) -> torch.nn.Module | None:
    """Load a dictionary; return None if it is refused."""
    try:
        return load(path)
    except MemoryError:
        raise
    except Exception:  # libraries' own errors are enough
        return None


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


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [name for name in READ if FILES[name][0].endswith(".safetensors")])
def test_a_changed_tensor_of_another_library_is_refused(name, change, tmp_path):
    export(written(), name, tmp_path / "theirs")
    file = tmp_path / "theirs" / FILES[name][0]
    tensors = load_file(file)
    for key in [key for key, value in tensors.items() if value.ndim]:
        save_file(tensors | {key: CHANGES[change](tensors[key]).contiguous()}, file)
        assert loaded(tmp_path / "theirs") is None, key
