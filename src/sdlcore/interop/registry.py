"""Registry of export formats by name."""

from sdlcore.interop import circuit_tracer, dictionary_learning, saelens, sparsify
from sdlcore.interop.base import Format

FORMATS: dict[str, Format] = {
    "saelens": saelens.FORMAT,
    "dictionary_learning": dictionary_learning.FORMAT,
    "sparsify": sparsify.FORMAT,
    "circuit_tracer": circuit_tracer.FORMAT,
}


def canonical(name: str) -> str:
    """Return the name of a format as in `FORMATS`: in lower case, with underscores instead of hyphens."""
    return str(name).lower().replace("-", "_")


def format_of(to: str) -> tuple[str, Format]:
    """Look up a format to export to; return its canonical name and the format. Case and hyphens do not matter.

    Raises
    ------
    ValueError
        If the format is unknown; the message lists the known ones.
    """
    name = canonical(to)
    if name not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, found {to!r}")
    return name, FORMATS[name]
