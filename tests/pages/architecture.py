"""The picture of the architecture page: the rooms of the library, and the path of one batch through them.

`python -m tests.pages.architecture` draws it from the import rules in pyproject.toml into docs/images/architecture.png.
"""

import tomllib
from pathlib import Path

import matplotlib
from PIL import Image

from tests.conftest import REPOSITORY

PICTURE = REPOSITORY / "docs/images/architecture.png"
BATCH = (
    ("data", "reads a batch from the store"),
    ("training", "step.py scales the batch and calls the model"),
    ("model", "coder.py encodes it, and decodes the latents"),
    ("sparse", "search.py finds the active latents on the way"),
    ("model", "losses/total.py adds up the error and the penalties"),
    ("training", "step.py updates the weights; loop.py adds a row to the history"),
)
"""The rooms that a batch passes through, in order, and what happens there."""
WORKFLOW = (
    "workflow: rules and scripts of Snakemake's stages",
    "workflow/sdlstudy: the paper's tables, verdicts and report",
)
TEXT, BOX, LIT = "0.15", "0.93", "#cfe3f7"


def layers() -> list[list[str]]:
    """Return the rooms of the library from top to bottom; rooms of one layer do not import each other."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (rooms,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["sdlcore"])
    return [[name.strip() for name in layer.split("|")] for layer in rooms]


def draw(path: Path) -> None:
    """Draw the rooms as boxes, layer upon layer, and number the rooms that a batch passes through."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    rooms = layers()
    steps = {room: [n for n, (name, _) in enumerate(BATCH, 1) if name == room] for room, _ in BATCH}
    figure, ax = pyplot.subplots(figsize=(11, 0.38 * (len(rooms) + 3)), layout="constrained")
    ax.set(xlim=(0, 20), ylim=(-len(rooms) + 0.3, 2.6))
    ax.axis("off")
    for row, text in enumerate(reversed(WORKFLOW)):
        ax.add_patch(pyplot.Rectangle((0, row + 0.55), 10, 0.8, facecolor="none", edgecolor="0.5", linestyle="--"))
        ax.text(5, row + 0.95, text, ha="center", va="center", fontsize=9, color=TEXT)
    for row, layer in enumerate(rooms):
        width = 10 / len(layer)
        for column, room in enumerate(layer):
            x, colour = column * width + 0.05, LIT if room in steps else BOX
            ax.add_patch(pyplot.Rectangle((x, -row - 0.4), width - 0.1, 0.8, facecolor=colour))
            ax.text((column + 0.5) * width, -row, room, ha="center", va="center", fontsize=8.5, color=TEXT)
            numbers = ", ".join(map(str, steps.get(room, [])))
            ax.text(x + 0.15, -row, numbers, va="center", fontsize=9, color="#1f5fa8", weight="bold")
    ax.text(10.6, 0.4, "The path of one batch", fontsize=11, color=TEXT, va="center", weight="bold")
    for number, (room, text) in enumerate(BATCH, 1):
        y = 0.9 - number * 1.6
        ax.text(10.6, y, f"{number}", fontsize=11, color="#1f5fa8", va="center", weight="bold")
        ax.text(11.1, y, room, fontsize=10, va="center", bbox={"facecolor": LIT, "edgecolor": "none"})
        ax.text(12.9, y, text, fontsize=9, color=TEXT, va="center")
        if number < len(BATCH):
            ax.annotate("", (10.7, y - 1.15), (10.7, y - 0.4), arrowprops={"arrowstyle": "->", "color": "0.4"})
    ax.text(10.6, 0.9 - 1.6 * (len(BATCH) + 1), "A room imports only rooms below it.", fontsize=9, color="0.4")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    with Image.open(path) as picture:  # a picture of the docs has 60 kB at most
        picture.convert("RGB").quantize(32, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    draw(PICTURE)
