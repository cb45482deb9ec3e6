"""The pictures of the tutorials, drawn by their own code: `python -m tests.pages.pictures`, into docs/images."""

import contextlib
import tempfile
from pathlib import Path

import matplotlib

from tests.conftest import REPOSITORY
from tests.pages.blocks import blocks
from tests.pages.execution import Session

PAGES = ("first-dictionary", "your-activations")
DOTS_PER_INCH = 90


def draw(page: str, folder: Path) -> list[Path]:
    """Execute a tutorial's blocks, and save a picture of each block that has drawn one."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    paths = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        session = Session(Path(scratch))
        for block in blocks(REPOSITORY / f"docs/tutorials/{page}.md"):
            if block.needs or block.language not in ("python", "sh"):
                continue
            print(session.run(block), end="")
            for number in pyplot.get_fignums():
                paths.append(folder / f"{page}-{len(paths) + 1}.png")
                pyplot.figure(number).savefig(paths[-1], dpi=DOTS_PER_INCH)
            pyplot.close("all")
    return paths


if __name__ == "__main__":
    for name in PAGES:
        for path in draw(name, REPOSITORY / "docs/images"):
            print(path.relative_to(REPOSITORY))
