"""List the files in folders of images or texts."""

import os
from collections.abc import Callable
from pathlib import Path

from sdlcore.text import printable

Skipped = tuple[str, str]
"""Path of a file that was skipped, relative to the folder, with control characters escaped; and the reason."""


def files_below(
    root: str | Path, is_wanted: Callable[[str], bool], start: str = ""
) -> tuple[dict[str, int], list[Skipped]]:
    """Return path -> size in bytes of the files below a folder, sorted by path, and the entries that are no files.

    Paths are relative to ``root``, with forward slashes. Links are followed. Both results contain only names that
    ``is_wanted`` accepts, such as names of images. ``start`` is a subfolder to start in. OSError if a folder cannot be
    read, whose files would otherwise be missing without notice.
    """
    sizes: dict[str, int] = {}
    skipped: list[Skipped] = []

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(Path(root) / start, onerror=fail, followlinks=True):
        for path in (Path(folder, name) for name in names if is_wanted(name)):
            name = os.path.relpath(path, root)
            if path.is_file():
                sizes[name] = path.stat().st_size
            else:
                skipped.append((printable(name), "a broken link, or no regular file"))
    return dict(sorted(sizes.items())), sorted(skipped)
