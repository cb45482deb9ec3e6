"""Formats by the names that users give."""

from sdlcore.interop import circuit_tracer, dictionary_learning, saelens, sparsify
from sdlcore.interop.base import Format

FORMATS: dict[str, Format] = {
    "saelens": saelens.FORMAT,
    "dictionary_learning": dictionary_learning.FORMAT,
    "sparsify": sparsify.FORMAT,
    "circuit_tracer": circuit_tracer.FORMAT,
}


def format_of(name: str) -> tuple[str, Format]:
    """Return a format and its name here; ``name`` may be written as the library writes its own.

    Raises
    ------
    ValueError
        Naming those that there are.
    """
    own = name.lower().replace("-", "_")
    if own not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, found {name!r}")
    return own, FORMATS[own]
