"""Report names that refer to nothing, and suggest the closest one."""

from collections.abc import Iterable, Iterator

from sdlcore.pipeline import did_you_mean

METHOD = "a key of methods"
PROTOCOL = "a key of protocols"
ANCHORING = "none or a key of anchorings"
BENCH = "a source under sources.bench"
KNOWN = f"{BENCH} or sources.synth"
"""What names are expected to be, in messages."""


def unknown(path: str, used: Iterable[object], known: Iterable[object], expected: str) -> Iterator[str]:
    """Yield the names used that are not known, each led by the path of the key."""
    known = list(known)
    for name in used:
        if name not in known:
            choices = f" ({', '.join(map(str, known))})" if known else ", of which there is none"
            yield f"{path}: {name} is not {expected}{choices}{did_you_mean(str(name), map(str, known))}"
