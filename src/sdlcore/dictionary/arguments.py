"""Check arguments that are dictionaries: one, or several by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite

ONLY = "dictionary"
"""Name of the only dictionary, where a function also takes several by name."""


def coder_of(dictionary: Dictionary | SparseCoder) -> SparseCoder:
    """Return the model of a `Dictionary`, or a `SparseCoder` itself, for raw activations; ValueError for others."""
    if not isinstance(dictionary, Dictionary | SparseCoder):
        raise ValueError(f"dictionary is a {type(dictionary).__name__}, expected the result of sdl.fit or sdl.load")
    if getattr(dictionary, "normalise", False):
        raise ValueError("dictionary is a SparseCoder for normalised activations; give sdl.Dictionary(coder)")
    return dictionary.coder if isinstance(dictionary, Dictionary) else dictionary


def by_name(dictionaries: Any) -> Mapping[Any, Any]:
    """Return several dictionaries, by name or numbered from 0; ValueError for a single one."""
    if isinstance(dictionaries, Dictionary | SparseCoder) or not isinstance(dictionaries, Iterable):
        raise ValueError(f"dictionaries is a {type(dictionaries).__name__}, expected a list or dict of dictionaries")
    return dictionaries if isinstance(dictionaries, Mapping) else dict(enumerate(dictionaries))


def coders_of(dictionaries: Any) -> dict[Any, SparseCoder]:
    """Return the models of several dictionaries, by name or numbered from 0.

    Raises
    ------
    ValueError
        If one is not a dictionary, or contains NaN or infinity.
    """
    coders = {name: coder_of(one) for name, one in by_name(dictionaries).items()}
    for name, coder in coders.items():
        if broken := not_finite(coder.state_dict()):
            raise ValueError(f"{_called(name)}: {broken}; train it again, with a lower lr if training diverged")
    return coders


def _called(name: Any) -> str:
    return "the dictionary" if name == ONLY else f"dictionary {name}"


def check_sample_shape(name: Any, coder: SparseCoder, shape: Sequence[int]) -> None:
    """Raise ValueError unless samples of this shape are N x n_p, with N above 0, for a dictionary."""
    expected = f"N x {coder.W_enc.shape[1]}" + (", its sites side by side" if len(coder.input_sites) > 1 else "")
    if len(shape) != 2 or shape[1] != coder.W_enc.shape[1]:
        dimensions = " x ".join(map(str, shape))
        raise ValueError(f"x has the shape {dimensions}, but {_called(name)} reads {expected}")
    if not shape[0]:
        raise ValueError("x contains no samples, expected one or more")
