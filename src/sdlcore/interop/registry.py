"""Registry of export formats by name."""

from sdlcore.interop import circuit_tracer, dictionary_learning, saelens, sparsify
from sdlcore.interop.base import Format

FORMATS: dict[str, Format] = {
    "saelens": saelens.FORMAT,
    "dictionary_learning": dictionary_learning.FORMAT,
    "sparsify": sparsify.FORMAT,
    "circuit_tracer": circuit_tracer.FORMAT,
}


def format_of(name: str, argument: str = "format") -> tuple[str, Format]:
    """Look up a format by name; return its canonical name and the format. Case and hyphens do not matter.

    ``argument`` is what the message calls the name.

    Raises
    ------
    ValueError
        If the format is unknown; the message lists the known ones.
    """
    canonical_name = str(name).lower().replace("-", "_")
    if canonical_name not in FORMATS:
        raise ValueError(f"{argument} must be one of {', '.join(FORMATS)}, found {name!r}")
    return canonical_name, FORMATS[canonical_name]
