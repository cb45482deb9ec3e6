"""What a schema cannot say of a bench's settings: whether they go together."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.sources.bench.frequencies import zipf_probabilities
from sdlcore.sources.bench.hierarchy import Hierarchy


def inconsistencies(bench: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of each setting of a bench that does not go with the others."""
    n, hierarchy = bench["n"], Hierarchy(**bench["hierarchy"]) if bench["hierarchy"] else Hierarchy(0, 0)
    if hierarchy.size > n:
        yield "hierarchy", f"{hierarchy.size} parents and children, but n is {n}; raise n"
        return
    drawn = n - hierarchy.parents
    if bench["correlation"] and bench["group_size"] > drawn:
        yield "group_size", f"{bench['group_size']} features of a group, but only {drawn} are drawn; lower it"
    try:
        zipf_probabilities(drawn, 1 - bench["sparsity"], bench["frequency_exponent"])
    except ValueError as error:
        yield "frequency_exponent", str(error)
