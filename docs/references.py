"""Write the references of Python, commands and metrics, which no commit contains: `make docs` runs this module."""

import contextlib
import inspect
import io
import os
import re
from pathlib import Path

import sdlcore as sdl
from sdlcore.commands.main import COMMANDS, main
from sdlcore.config import Config
from sdlcore.evaluation.metrics import EXPLAINED, METRICS, RECOVERY
from sdlcore.solvers.settings import SolverConfig

DOCS = Path(__file__).parent
ROOMS = {
    **dict.fromkeys(("dictionary", "fitting", "advice", "judging"), "Find, use and score dictionaries"),
    "codes": "Improve codes and rows",
    "data": "Activations, anchors and references",
    "inside": "In a language model",
    "model": "Activations of your own",
    "sparse": "Searches for the largest latents",
    "losses": "Loss terms of your own",
    "evaluation": "Intervals, and metrics of your own",
    "solvers": "Solvers of your own",
    "sources": "Sources of your own",
    "errors": "Errors",
}
"""Folder or module below `sdlcore` -> title of its section."""
METRICS_PAGE = """# Which metrics are there?

`print(scores)` shows these metrics, `scores.to_frame()` all metrics of a dictionary. Beside each value are `chance` and
two [null baselines](paper.md#what-a-score-is-worth-null-baselines), `directions` and `samples`.

{explained}

A run's `metrics.json` contains all metrics. The value of a metric is null if it cannot be computed. Scores of random
directions are under `chance`, in tables under `chance_`.

## Recovery and MIP

Recovery is the share of features whose best match exceeds a threshold, and MIP is the mean best match. A feature's best
match is the encoder row or decoder column with the largest absolute cosine. A metric's name consists of the parts in
the table, in this order. Not every combination exists.

| part | meaning |
|---|---|
| `anchors_only_` | the anchors alone, without training |
| `gt_recovery`, `mip` | recovery, MIP |
| `_encoder`, `_decoder` | encoder rows, decoder columns |
| `_raw` | inner products, as in the paper's formula (section 5.1), instead of cosines |
| `_pattern` | [patterns](solvers.md#what-rows-respond-to) of encoder rows instead of the rows |
| `_site0`, `_site1`, ... | one site of a crosscoder alone, over the features that occur there |
| `_anchored`, `_unanchored` | features with or without an [anchor](paper.md), in this or the compared run |
| `_rarest` | the quarter of features that are least often active |
| `_tau95` | threshold .95 instead of .9 |

## All other metrics

{others}
"""


def python_page() -> str:
    """Return the page of every name of `import sdlcore as sdl`, whose docstrings mkdocstrings fills in."""
    stub = inspect.getsourcefile(sdl) or ""
    paths = re.findall(r"^from \.([\w.]+) import (\w+)", Path(stub).with_suffix(".pyi").read_text(), re.MULTILINE)
    sections: dict[str, list[str]] = {title: [] for title in ROOMS.values()}
    for module, name in paths:
        if name == Config.__name__:
            continue
        room = module.partition(".")[0]
        sections.setdefault(ROOMS.get(room, room.capitalize()), []).append(f"sdlcore.{module}.{name}")
    drawn = [name for name, item in vars(sdl.plot).items() if inspect.isfunction(item) and not name.startswith("_")]
    sections["Plots: `sdl.plot`"] = [
        f"sdlcore.plot.{name}" for name in drawn if vars(sdl.plot)[name].__module__ == "sdlcore.plot"
    ]
    parents = [cls for cls in Config.__mro__ if cls.__module__ == Config.__module__]  # whose settings Config has, too
    sections["Settings of `fit`"] = [f"{cls.__module__}.{cls.__name__}" for cls in (*parents, SolverConfig)]
    parts = ["# Which names does `import sdlcore as sdl` give?"]
    for title, entries in sections.items():
        parts += [f"## {title}", *(f"::: {entry}" for entry in entries)]
    return "\n\n".join(parts) + "\n"


def command_page() -> str:
    """Return the page of the help texts of all commands."""
    parts = ["# Which commands and options does `sdlcore` have?"]
    for name in COMMANDS:
        parts += [f"## {name}", f"```text\n{_help_of(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help_of(*arguments: str) -> str:
    """Return a command's help text, 100 columns wide and without colours."""
    os.environ.update(COLUMNS="100", NO_COLOR="1")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help", "all"])
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).splitlines()]
    return "\n".join(lines).strip()


def metrics_page() -> str:
    """Return the page of metrics."""
    heads = ["| metric | meaning | better | runs |", "|---|---|---|---|"]
    # the page explains the parts of the names of recovery and MIP; all other metrics have one row each
    others = [m for m in METRICS.values() if not RECOVERY.fullmatch(m.name) and m.name not in EXPLAINED]
    explained = [*heads, *(_row(name, text) for name, text in EXPLAINED.items())]
    rows = [*heads, *(_row(metric.name, metric.caption) for metric in others)]
    return METRICS_PAGE.format(explained="\n".join(explained), others="\n".join(rows))


def _row(name: str, meaning: str) -> str:
    """Return a metric's row of a table."""
    meaning = meaning.replace("|", "\\|")
    return f"| `{name}` | {meaning} | {METRICS[name].better or ''} | {METRICS[name].runs} |"


PAGES = {
    "reference/python.md": python_page,
    "reference/command-line.md": command_page,
    "metrics.md": metrics_page,
}
"""Page below docs/ -> its text."""

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).parent.mkdir(exist_ok=True)
        (DOCS / page).write_text(text(), encoding="utf-8")
