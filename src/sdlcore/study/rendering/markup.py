"""Format the rows of Tables 1, 2 and 4 to 7 as Markdown, LaTeX and cells of the report."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from sdlcore.pipeline import (
    GT_RECOVERY,
    METRICS,
    MIP,
    TAU_STRICT,
    Baseline,
    FeatureSet,
    Matched,
    Similarity,
    baseline_name,
    mip_name,
    part_name,
    printable,
    recovery_name,
)
from sdlcore.study.rendering.symbols import symbol
from sdlcore.study.rendering.text_table import TextTable
from sdlcore.study.results.tables import PAPER_METHODS

# names of the default configuration's methods that are not in the paper
METHODS = {
    "topk_3d": "TopK SAE",
    "topk_few": "TopK SAE",
    "topk_nested": "Nested TopK SAE",
    "topk_real": "TopK SAE",
    "topk_real_resampled": "TopK SAE with resampling",
    "batchtopk_real": "BatchTopK SAE",
    "topk_warm": "TopK SAE from ACS",
    "topk_frozen_decoder": "TopK SAE, decoder frozen",
    "topk_frozen_decoder_linear": "TopK SAE, decoder frozen at TopK's start",
    "topk_frozen_encoder": "TopK SAE, encoder frozen",
    "random_directions": "Random directions",
    "random_samples": "Random samples",
    "acs": "ACS",
    "ksvd": "K-SVD",
    "dbksvd": "Double-batch K-SVD",
    "odl": "Online dictionary learning",
    # of config/encoders.yaml
    "acs_tied": "ACS, encoder tied",
    "acs_covariance": "ACS, encoder tied by the covariance",
    "acs_pursuit": "ACS, encoder by pursuit",
    "topk_white": "TopK SAE, whitened",
    "relu_white": "ReLU SAE, whitened",
    "jumprelu_white": "JumpReLU SAE, whitened",
    # of config/law.yaml
    "acs_bare": "ACS, encoder without ridge",
    "topk_tied": "TopK SAE, tied",
    # of config/anchoring.yaml
    "topk_short": "TopK SAE, few steps",
    "topk_short_tied": "TopK SAE, tied, few steps",
    "topk_narrow": "TopK SAE, n_q near n",
    "topk_narrow_tied": "TopK SAE, tied, n_q near n",
    "relu_short": "ReLU SAE",
    "relu_short_tied": "ReLU SAE, tied",
    "topk_few_tied": "TopK SAE, tied",
    "topk_real_tied": "TopK SAE, tied",
    # of config/peers.yaml
    "nested": "Matryoshka SAE by prefixes",
    "saelens_topk": "SAELens TopK",
    "saelens_topk_3e3": "SAELens TopK at 3e-3",
    "saelens_batchtopk": "SAELens BatchTopK",
    "saelens_nested": "SAELens Matryoshka",
    "saelens_jumprelu": "SAELens JumpReLU",
    "saelens_batchtopk_3e3": "SAELens BatchTopK at 3e-3",
    "saelens_nested_3e3": "SAELens Matryoshka at 3e-3",
    "dictionary_learning_topk": "dictionary_learning TopK",
    "dictionary_learning_topk_3e3": "dictionary_learning TopK at 3e-3",
    "dictionary_learning_batchtopk": "dictionary_learning BatchTopK",
    "dictionary_learning_nested": "dictionary_learning Matryoshka",
    "dictionary_learning_jumprelu": "dictionary_learning JumpReLU",
    "sparsify_topk": "sparsify TopK",
    # of config/synthsaebench.yaml
    "acs_narrow": "ACS from n_q atoms",
    "acs_denoised": "ACS, codes denoised",
    "topk_m": "TopK SAE",
    "batchtopk_m": "BatchTopK SAE",
    "nested_m": "Matryoshka SAE by prefixes",
    "saelens_nested_3e3_m": "SAELens Matryoshka at 3e-3",
}
ANCHORING_LABELS = {
    "none": "none",
    "ground_truth": "ground truth",
    "ground_truth_30": "ground truth",
    "class_means": "class means",
    "half_of_classes": "half of the classes",
}


class Column(NamedTuple):
    """One column of the readable table: its headings and the metric or ``paper_*`` column behind it."""

    group: str
    heading: str
    name: str
    digits: int


def _ours(heading: str, name: str) -> Column:
    """Return the column of a metric."""
    return Column(METRICS[name].symbol, heading, name, METRICS[name].digits)


def _papers(column: str, beside: str) -> Column:
    """Return a column of the paper's numbers, formatted like our metric ``beside``."""
    return Column(METRICS[beside].symbol, "paper", column, METRICS[beside].digits)


# recovery by the paper's formula and the threshold of its later revision, as in verdicts
_STATED = Matched("encoder", Similarity.INNER, tau=TAU_STRICT)
COLUMNS = [
    _papers("paper_gt_recovery", recovery_name("encoder")),
    _ours("encoder", recovery_name("encoder")),
    _ours("encoder, not given", recovery_name("encoder", features=FeatureSet.UNANCHORED)),
    _ours("encoder, inner products > .95", _STATED.name),
    _ours("the same, not given", replace(_STATED, features=FeatureSet.UNANCHORED).name),
    _ours("decoder", recovery_name("decoder")),
    _ours("decoder, not given", recovery_name("decoder", features=FeatureSet.UNANCHORED)),
    _papers("paper_mip", mip_name("encoder")),
    _ours("encoder", mip_name("encoder")),
    _ours("encoder, inner products", mip_name("encoder", Similarity.INNER)),
    _ours("decoder", mip_name("decoder")),
    _papers("paper_l0", "l0"),
    _ours("ours", "l0"),
    _ours("ours", "fvu"),
    _ours("ours", "dead_fraction"),
]
# columns for samples with classes
CLASS_COLUMNS = [
    _ours("all latents", "top_classes"),
    _ours("not given", part_name("top_classes", FeatureSet.UNANCHORED)),
]


def _of_inner_products(column: Column) -> bool:
    """Return whether a column uses inner products, as the paper does. It is shown only beside the paper's numbers."""
    matched = METRICS[column.name].matched if column.name in METRICS else None
    return matched is not None and matched.similarity == Similarity.INNER


class Cell(NamedTuple):
    """A number as text, and its spread as text, which may be empty."""

    value: str
    spread: str = ""


class Readable(NamedTuple):
    """The readable table: names of the label columns, then for each row its labels and one cell for each column.

    ``baselines`` are levels without training, such as chance: a name and one cell for each column.
    """

    labels: list[str]
    columns: list[Column]
    rows: list[tuple[list[str], list[Cell]]]
    baselines: list[tuple[str, list[Cell]]]


def number(value: float, digits: int) -> str:
    """Return a number with ``digits`` decimals, or an en dash for NaN; never a negative zero."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def readable(table: pd.DataFrame) -> Readable:
    """Format the columns of a table that fit a page; protocols are named only if there are several."""
    labels = ["Method", "Anchoring"] + (["Protocol"] if table["protocol"].nunique() > 1 else [])
    swept = [symbol(table["parameter"].iloc[0])] if known(table, "value") else []
    # skip columns without numbers: tables lack the paper's L0 or all of its numbers, unlabelled sources lack recovery
    measured = {column.group for column in COLUMNS if known(table, f"{column.name}_mean")}
    papers = {column.name for column in COLUMNS if column.name.startswith("paper_") and known(table, column.name)}
    columns = [
        column
        for column in COLUMNS
        if (column.name in papers if column.name.startswith("paper_") else column.group in measured)
        and (papers or not _of_inner_products(column))
    ]
    columns += [column for column in CLASS_COLUMNS if known(table, f"{column.name}_mean")]
    rows = []
    for _, row in table.iterrows():
        names = [label_method(row["method"]), label_anchoring(row["anchoring"]), row["protocol"]][: len(labels)]
        values = [label_value(row["value"], row["paper_value"])] if swept else []
        rows.append((values + names, [_cell(row, column) for column in columns]))
    baselines = (
        [("Chance", [_baseline(table, column, Baseline.CHANCE) for column in columns])]
        if MIP.symbol in measured
        else []
    )
    if known(table, f"{mip_name('decoder', baseline=Baseline.ANCHORS_ONLY)}_mean"):
        baselines.append(("Anchors only", [_baseline(table, column, Baseline.ANCHORS_ONLY) for column in columns]))
    if known(table, f"{baseline_name(Baseline.ORACLE, 'fvu')}_mean"):
        baselines.append(("Oracle", [_baseline(table, column, Baseline.ORACLE) for column in columns]))
    return Readable(swept + labels, columns, rows, baselines)


def label_value(value: float, paper_value: float) -> str:
    """Return the value of the swept parameter, with the paper's in brackets if it differs."""
    return f"{value:g}" if value == paper_value else f"{value:g} (paper: {paper_value:g})"


def known(table: pd.DataFrame, name: str) -> bool:
    """Return whether a table has a column with at least one value."""
    return name in table and bool(table[name].notna().any())


def label_method(method: str) -> str:
    """Return a readable name of a method: the paper's, else one from `METHODS`, else its key in the configuration."""
    return PAPER_METHODS.get(method) or METHODS.get(method, method)


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
    """Return a level as one number, or as a range if rows differ, for example in their number of dimensions."""
    name = f"{baseline_name(kind, column.name)}_mean"
    if not known(table, name):
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
    return TextTable(caption, frame, len(content.labels)).markdown()


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
    # LaTeX would read one of these at the start of a row as an argument of the line break before
    "[": "{[}",
    "*": "{*}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "±": r"$\pm$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
    '"': r"\textquotedbl{}",
}


def latex_escape(text: str) -> str:
    """Escape text for LaTeX: special characters are escaped, and our few symbols become mathematics.

    Line breaks become spaces, since two of them would end a caption.
    """
    return "".join(_LATEX.get(character, character) for character in printable(" ".join(text.split())))


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """Return the readable table as a LaTeX ``table`` that needs only the package booktabs.

    All columns side by side are wider than a page. So the table has two panels, recovery above the other metrics, each
    with its own baselines.
    """
    content = readable(table)
    panels = [
        _latex_panel(content, lambda column: column.group == GT_RECOVERY.symbol),
        _latex_panel(content, lambda column: column.group != GT_RECOVERY.symbol),
    ]
    small = [r"\scriptsize", r"\setlength{\tabcolsep}{3pt}"]
    return latex_float([*small, "\n\n\\medskip\n\n".join(panels)], caption, label)


def latex_float(body: Sequence[str], caption: str, label: str) -> str:
    """Wrap lines in a LaTeX ``table`` with its caption above; it needs only the package booktabs."""
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\par\medskip",
        *body,
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
        # centred on the page, since wide numbers may reach into the margins
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
        lines.append(" & ".join([latex_escape(name), *[""] * (len(content.labels) - 1), *numbers]) + r" \\")
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join(lines)


def _latex_cell(cell: Cell) -> str:
    value = latex_escape(cell.value)
    return rf"{value}\,{{\tiny$\pm${cell.spread}}}" if cell.spread else value
