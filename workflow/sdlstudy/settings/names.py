"""Report names that refer to nothing, and suggest the closest one."""

from collections.abc import Iterable, Iterator

from sdlcore.pipeline import did_you_mean

METHOD = "a key of methods"
PROTOCOL = "a key of protocols"
ANCHORING = "none or a key of anchorings"
BENCH = "a source under sources.bench"
KNOWN = f"{BENCH} or sources.synth"
"""Descriptions of the expected names, for messages."""


def unknown(path: str, used: Iterable[object], known: Iterable[object], expected: str) -> Iterator[str]:
    """Yield an error for each name in ``used`` that is not known. Each error begins with the path of the key."""
    known = list(known)
    for name in used:
        if name not in known:
            choices = f" ({', '.join(map(str, known))})" if known else ", and the configuration has none"
            yield f"{path}: {name} is not {expected}{choices}{did_you_mean(str(name), map(str, known))}"
