"""List the files in folders of images or texts."""

import os
from collections.abc import Callable
from pathlib import Path


def files_below(root: str | Path, is_wanted: Callable[[str], bool]) -> dict[str, int]:
    """Return path -> size in bytes of the files below a folder whose names are wanted, sorted by path.

    Paths are relative to ``root``, with forward slashes. Links are followed; a broken link is listed with 0 bytes, and
    fails when it is read. OSError if a folder cannot be read, whose files would otherwise be missing without notice.
    """
    sizes: dict[str, int] = {}

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(root, onerror=fail, followlinks=True):
        for path in (Path(folder, name) for name in names if is_wanted(name)):
            if path.is_file() or not path.exists():  # no pipe, which would never end
                sizes[path.relative_to(root).as_posix()] = path.stat().st_size if path.exists() else 0
    return dict(sorted(sizes.items()))
