"""Tables as people read them: Markdown, LaTeX, cells of the report, and the caption that explains them."""

import math
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.config import is_labelled, run_settings, source_kind
from sdlcore.evaluation.top_samples import FEWEST, TOP
from sdlcore.rendering.tables import PAPER_METHODS

ANCHORING_LABELS = {"none": "none", "ground_truth": "ground truth", "class_means": "class means"}


class Column(NamedTuple):
    """One column of the readable table: its headings and the metric or ``paper_*`` column behind it."""

    group: str
    heading: str
    name: str
    digits: int = 3


COLUMNS = [
    Column("GT recovery", "paper", "paper_gt_recovery"),
    Column("GT recovery", "encoder", "gt_recovery_encoder"),
    Column("GT recovery", "encoder, not given", "gt_recovery_encoder_unanchored"),
    Column("GT recovery", "decoder", "gt_recovery_decoder"),
    Column("GT recovery", "decoder, not given", "gt_recovery_decoder_unanchored"),
    Column("MIP", "paper", "paper_mip"),
    Column("MIP", "encoder", "mip_encoder"),
    Column("MIP", "decoder", "mip_decoder"),
    Column("L0", "paper", "paper_l0", 1),
    Column("L0", "ours", "l0", 1),
    Column("FVU", "ours", "fvu"),
    Column("Dead", "ours", "dead_fraction"),
]
# where samples have classes
CLASS_COLUMNS = [
    Column("Top classes", "all latents", "top_classes", 1),
    Column("Top classes", "not given", "top_classes_unanchored", 1),
]

# The settings of the paper's tables, with whose numbers ours stand side by side.
PAPER_SETTINGS = {
    "table1": "n = 1000, n_p = 768, n_q = 16000, S = 0.99",
    "table2": "CLIP-ViT-B/32 embeddings of ImageNet-1K, n_p = 768, n_q = 16384, n_anchors = 30, lambda_anchor = 1",
}


class Cell(NamedTuple):
    """A number as text, and its spread as text (empty where there is none)."""

    value: str
    spread: str = ""


class Readable(NamedTuple):
    """The readable table: names of the label columns, then for each row its labels and one cell a column.

    ``baselines`` are what no training reaches too: a name and one cell a column.
    """

    labels: list[str]
    columns: list[Column]
    rows: list[tuple[list[str], list[Cell]]]
    baselines: list[tuple[str, list[Cell]]]


def number(value: float, digits: int) -> str:
    """Return a number with so many decimals, an en dash for NaN; never a negative zero."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def readable(table: pd.DataFrame) -> Readable:
    """Format the part of a table that fits a page; protocols are named only where there are several."""
    labels = ["Method", "Anchoring"] + (["Protocol"] if table["protocol"].nunique() > 1 else [])
    columns = COLUMNS + [column for column in CLASS_COLUMNS if _known(table, f"{column.name}_mean")]
    rows = []
    for _, row in table.iterrows():
        names = [label_method(row["method"]), label_anchoring(row["anchoring"]), row["protocol"]][: len(labels)]
        rows.append((names, [_cell(row, column) for column in columns]))
    baselines = [("Chance", [_baseline(table, column, "chance") for column in columns])]
    if _known(table, "anchors_only_mip_decoder_mean"):
        baselines.append(("Anchors only", [_baseline(table, column, "anchors_only") for column in columns]))
    if _known(table, "oracle_fvu_mean"):
        baselines.append(("Oracle", [_baseline(table, column, "oracle") for column in columns]))
    return Readable(labels, columns, rows, baselines)


def _known(table: pd.DataFrame, name: str) -> bool:
    """Tell whether a column is there and any row has it."""
    return name in table and bool(table[name].notna().any())


def label_method(method: str) -> str:
    """Return the paper's name of a method, or the configuration's where the paper has none."""
    return PAPER_METHODS.get(method, method)


def label_anchoring(anchoring: str) -> str:
    """Return a readable name of an anchoring."""
    return ANCHORING_LABELS.get(anchoring, anchoring)


def _cell(row: pd.Series, column: Column) -> Cell:
    if column.name.startswith("paper_"):
        return Cell(number(row[column.name], column.digits))
    spread = row[f"{column.name}_std"]
    return Cell(
        number(row[f"{column.name}_mean"], column.digits),
        "" if math.isnan(spread) else number(spread, column.digits),
    )


def _baseline(table: pd.DataFrame, column: Column, kind: str) -> Cell:
    """Return a level as one number, or as a range where rows differ (directions of other dimensions)."""
    name = f"{kind}_{column.name}_mean"
    if not _known(table, name):
        return Cell("–")
    levels = table[name]
    low, high = number(levels.min(), column.digits), number(levels.max(), column.digits)
    return Cell(low if low == high else f"{low} to {high}")


def markdown(table: pd.DataFrame, caption: str) -> str:
    """Return the readable table as GitHub-flavoured Markdown: caption above, baselines at the bottom."""
    content = readable(table)
    heads = content.labels + [f"{column.group}: {column.heading}" for column in content.columns]
    body = [names + [_plain(cell) for cell in cells] for names, cells in content.rows]
    for name, cells in content.baselines:
        body.append([name] + [""] * (len(content.labels) - 1) + [_plain(cell) for cell in cells])
    frame = pd.DataFrame(body, columns=heads)
    alignment = ["left"] * len(content.labels) + ["right"] * len(content.columns)
    text = frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
    return f"{caption}\n\n{text}\n"


def _plain(cell: Cell) -> str:
    return f"{cell.value} ± {cell.spread}" if cell.spread else cell.value


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "±": r"$\pm$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
    '"': r"\textquotedbl{}",
}


def latex_escape(text: str) -> str:
    """Return text that LaTeX sets as it stands: special characters escaped, our few signs as mathematics."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """Return the readable table as a LaTeX ``table`` that needs only the package booktabs.

    All columns side by side are wider than a page, so recovery stands above the other metrics, each with
    its own baselines.
    """
    content = readable(table)
    panels = [
        _latex_panel(content, lambda column: column.group == "GT recovery"),
        _latex_panel(content, lambda column: column.group != "GT recovery"),
    ]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\par\medskip",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        "\n\n\\medskip\n\n".join(panels),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_panel(content: Readable, chosen: Callable[[Column], bool]) -> str:
    picked = [index for index, column in enumerate(content.columns) if chosen(column)]
    columns = [content.columns[index] for index in picked]
    first = len(content.labels) + 1
    groups, rules = [], []
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    heads = [latex_escape(text) for text in content.labels + [column.heading for column in columns]]
    lines = [
        # centred over the margins, since wide numbers reach a little beyond the text
        r"\makebox[\linewidth][c]{%",
        rf"\begin{{tabular}}{{{'l' * len(content.labels)}{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join([""] * len(content.labels) + groups) + r" \\",
        " ".join(rules),
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for names, cells in content.rows:
        numbers = [_latex_cell(cells[index]) for index in picked]
        lines.append(" & ".join([*map(latex_escape, names), *numbers]) + r" \\")
    lines.append(r"\midrule")
    for name, cells in content.baselines:
        numbers = [_latex_cell(cells[index]) for index in picked]
        lines.append(" & ".join([name, *[""] * (len(content.labels) - 1), *numbers]) + r" \\")
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join(lines)


def _latex_cell(cell: Cell) -> str:
    value = latex_escape(cell.value)
    return rf"{value}\,{{\tiny$\pm${cell.spread}}}" if cell.spread else value


def table_settings(config: Mapping[str, Any], table: str) -> dict[str, str]:
    """Return the settings of a table's runs that its numbers hang on, as text, out of a configuration.

    The configuration may hold only what the table uses: name, seeds, tables, and the sources, methods,
    protocols and anchorings that the table names.
    """
    asked = config["tables"][table]
    source = config["sources"][source_kind(config, asked["source"])][asked["source"]]
    runs = [
        run_settings(config, asked["source"], method, protocol)
        for method in asked["methods"]
        for protocol in asked["protocols"]
    ]
    names = {"n": "n", "n_p": "n_p", "n_r": "n_r", "sparsity": "S", "train_samples": "N"}
    settings = {label: f"{source[name]}" for name, label in names.items() if source.get(name) is not None}
    for name in ("n_q", "steps", "batch_size"):
        settings[name] = "/".join(dict.fromkeys(str(run[name]) for run in runs))
    for anchoring in asked["anchorings"]:
        for name, value in config.get("anchorings", {}).get(anchoring, {}).items():
            if name in ("n_anchors", "lambda_anchor"):
                settings[name] = f"{settings[name]}/{value}" if name in settings else f"{value}"
    return settings


def table_caption(config: Mapping[str, Any], table: str) -> str:
    """Return what a reader must know to read a table's numbers, as one plain paragraph.

    Parameters
    ----------
    config
        As for `table_settings`.
    table
        Name of the table in ``config["tables"]``.
    """
    seeds = config["seeds"]
    spread = (
        f"mean ± standard deviation (ddof = 1) over {len(seeds)} seeds" if len(seeds) > 1 else "one seed, so no spread"
    )
    ours = ", ".join(f"{name} = {value}" for name, value in table_settings(config, table).items())
    source = config["tables"][table]["source"]
    if is_labelled(config["sources"][source_kind(config, source)][source]):
        what, reference = "Directions of classes", "normalised class means (eq. 23), which are no true features,"
        given = "classes"
        more = (
            f"Top classes: how many classes share the {TOP} held-out samples that a latent responds to most, "
            f"the mean over latents that respond to {FEWEST} or more, and those that match the classes not given best. "
        )
    else:
        what, reference, given, more = (
            "Feature recovery on the Linear Representation Bench",
            "ground-truth features",
            "features",
            "Oracle: of the true features themselves as encoder and decoder (Theorem 3.3), with each method's sigma "
            "and k; they recover all. ",
        )
    return (
        f"{what}; {spread} ({', '.join(map(str, seeds))}). "
        f"GT recovery: the share of {reference} whose best absolute cosine exceeds τ = 0.9; "
        "MIP: the mean of the best absolute cosines. "
        "Encoder: rows of the encoder, the paper's metric; decoder: columns of the decoder; "
        f"not given: only the {given} that anchoring does not give away, also where nothing is anchored. "
        "L0, FVU (fraction of variance unexplained) and Dead (fraction of latents that never fire) "
        f"are of samples that training did not see. {more}"
        "Chance: the same metric of as many random directions, as a range where rows differ. "
        "Anchors only: of the anchors alone, without any training. "
        f"The paper's numbers are at {PAPER_SETTINGS[table]}; this run (configuration {config['name']}, source "
        f"{source}) is at {ours}."
    )
