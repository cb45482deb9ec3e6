"""Report names that refer to nothing, and suggest the closest one."""

from collections.abc import Iterable, Iterator

from sdlcore.suggestions import did_you_mean

METHOD = "a key of methods"
PROTOCOL = "a key of protocols"
ANCHORING = "none or a key of anchorings"
BENCH = "a source under sources.bench"
KNOWN = f"{BENCH}, sources.synth or sources.saelens"
"""Descriptions of the expected names, for messages."""


def unknown(path: str, used: Iterable[object], names: Iterable[object], expected: str) -> Iterator[str]:
    """Yield an error for each name in ``used`` that is not in ``names``. Each error begins with the path of the key."""
    names = list(names)
    for name in used:
        if name not in names:
            choices = f" ({', '.join(map(str, names))})" if names else ", and the configuration has none"
            yield f"{path}: {name} is not {expected}{choices}{did_you_mean(str(name), map(str, names))}"
