"""The generated tables and the page of a benchmark run. Nobody edits them."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import BATCHES, LIBRARIES
from benchmarks.shown import show
from sdlcore.storage.files import atomic_path

Row = Mapping[str, Any]

STEPS = (
    *("processor", "library", "method", "batch", "dtype", "ms_per_step", "peak_mb"),
    *("state", "l0", "probe_ms", "probe_onednn_ms", "probe_bfloat16_ms", "budget_mb", "peak_to_budget"),
    *("ms_least", "ms_most", "rounds", "steps"),
)
RECOVERY = (
    *("library", "lr", "seed", "threshold", "seconds", "steps", "reached", "final_recovery"),
    *("dtype", "optimizer", "rule"),
)
BEGINS = {batch: f"<!-- batches of {batch}, made by make benchmark -->" for batch in BATCHES}
"""Markers in docs/speed.md for the table of each batch size."""
RACE_BEGINS = "<!-- the race, made by make benchmark -->"
"""Marker in docs/speed.md for the race."""
PEERS = tuple(library for library in LIBRARIES if library != "sdlcore")
OURS = {"float32": "", "bfloat16": " bf16", "int8": " int8"}
"""Types of our encoder's product, and their suffixes in tables."""
COLUMNS = [*(("sdlcore", dtype) for dtype in OURS), *((peer, "float32") for peer in PEERS)]
COLUMNS += [("saelens", "bfloat16")]
PRODUCTS = {"product (MKL)": "probe_ms", "product (oneDNN)": "probe_onednn_ms"}
"""Libraries that compute the dense float32 product, and the columns of steps.csv with their milliseconds."""


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return rows as CSV: numbers with six digits, missing values empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV file, with all values as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, steps: Sequence[Row], recovery: Sequence[Row], facts: Row) -> None:
    """Write steps.csv, recovery.csv and README.md, each atomically."""
    contents = {"steps.csv": to_csv(steps, STEPS), "recovery.csv": to_csv(recovery, RECOVERY)}
    contents["README.md"] = page(steps, recovery, facts)
    for name, content in contents.items():
        with atomic_path(folder / name) as part:
            part.write_text(content)


def summary(steps: Iterable[Row], batch: int) -> str:
    """Return the table of one processor in docs/speed.md: the libraries' float32 steps at a batch size, and the fastest
    peer's time over ours. Methods that no peer has are left out.

    Parameters
    ----------
    steps
        Rows of steps.csv.
    batch
        The batch size.
    """
    header = ["method", "L0", "ours", *PEERS, "fastest peer / ours"]
    lines = []
    for group in _groups([row for row in steps if int(row["batch"]) == batch]):
        ours, *peers = (_ms(group.get((library, "float32"))) for library in ("sdlcore", *PEERS))
        fastest = min((ms for ms in peers if ms is not None), default=None)
        if ours and fastest:
            cells = [*_names(group)[:2], *(_number(ms, 0) for ms in (ours, *peers))]
            lines.append([*cells, _number(fastest / ours, 1)])
    return _table(header, lines)


def by_processor(results: Path, summarise: Callable[[Path], str]) -> str:
    """Return the text of one place in docs/speed.md: a table for each processor, headed by its name.

    Parameters
    ----------
    results
        Folder of folders, each with the results of one processor.
    summarise
        Returns the table of such a folder; empty tables are left out.
    """
    parts = []
    for folder in sorted(path.parent for path in results.glob("*/steps.csv") if path.parent.name != "partial"):
        table = summarise(folder)
        if len(table.splitlines()) > 2:
            parts.append(f"**{read(folder / 'steps.csv')[0]['processor']}**\n\n{table}")
    return "\n\n".join(parts)


def show_all(results: Path, page: Path) -> None:
    """Insert the tables of all processors into docs/speed.md."""

    def steps(batch: int, folder: Path) -> str:
        return summary(read(folder / "steps.csv"), batch)

    for batch, begins in BEGINS.items():
        show(page, begins, by_processor(results, partial(steps, batch)))
    show(page, RACE_BEGINS, by_processor(results, lambda folder: race_summary(read(folder / "recovery.csv"))))


def race_summary(recovery: Iterable[Row]) -> str:
    """Return the table of the race in docs/speed.md: the better learning rate of each library, in float32.

    Parameters
    ----------
    recovery
        Rows of recovery.csv.
    """
    best = _best(row for row in recovery if row["dtype"] == "float32")
    thresholds = sorted({threshold for *_, threshold in best})
    header = ["library", *(f"seconds to {threshold:.0%}" for threshold in thresholds), "steps", "learning rate"]
    lines = []
    for library in dict.fromkeys(library for library, *_ in best):
        rows = [best[library, "float32", threshold] for threshold in thresholds]
        cells = ["ours" if library == "sdlcore" else library, *(_seconds(row) for row in rows)]
        lines.append([*cells, str(rows[-1]["steps"]), f"{float(rows[-1]['lr']):.2g}"])
    return _table(header, lines)


def _best(recovery: Iterable[Row]) -> dict[tuple[str, str, float], Row]:
    """Return the row of the better learning rate of each library, type and threshold."""
    best: dict[tuple[str, str, float], Row] = {}
    for row in recovery:
        key = (row["library"], row["dtype"], float(row["threshold"]))
        if key not in best or _rank(row) < _rank(best[key]):
            best[key] = row
    return best


def _seconds(row: Row) -> str:
    reached = "" if _is_reached(row) else f"not reached ({float(row['final_recovery']):.3f}) after "
    return f"{reached}{float(row['seconds']):.1f}"


def _is_reached(row: Row) -> bool:
    """Whether a threshold was reached, for a row in memory or read from CSV."""
    return row["reached"] in (True, "true")


def page(steps: Sequence[Row], recovery: Sequence[Row], facts: Row) -> str:
    """Return the page of ratios, with the machine and the versions of the measurement."""
    parts = [_head(facts), _ratios(steps), _milliseconds(steps), _memory(steps), _race(recovery)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: Row) -> str:
    flags = ", ".join(f"{flag} {'yes' if has else 'no'}" for flag, has in facts["flags"].items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    warnings = f"\n**Part of the benchmark only: `{facts['arguments']}`.**\n" if facts["partial"] else ""
    warnings += "" if facts["finished"] else "\n**The benchmark had not finished when this was written.**\n"
    if facts["failed"]:
        failed = "\n".join(f"- {name}: {why.strip().splitlines()[-1]}" for name, why in facts["failed"].items())
        warnings += f"\n**What failed, and is missing below:**\n\n{failed}\n"
    return f"""# Results of the benchmark

Made by `make benchmark`; do not edit. `benchmarks/README.md` describes the measurements; all numbers in
`steps.csv` and `recovery.csv` beside this page.
{warnings}
- Date: {facts["date"]}; the run took {facts["minutes"]:.0f} minutes; load average before it {facts["load"]:.2f}
- Commit: {facts["commit"]}
- Machine: {facts["cpu"]}, {facts["cores"]} cores, {facts["memory_gib"]:.0f} GiB; {flags}
- Threads: {facts["threads"]} in every library, waiting without spinning (OMP_WAIT_POLICY=PASSIVE)
- Versions: {versions}; Python {facts["python"]}; {facts["system"]}"""


def _ratios(steps: Sequence[Row]) -> str:
    """Return the section of ratios: a peer's step over ours, and our step over dense products."""
    if not steps:
        return ""
    header = ["method", "L0", "B"]
    header += [f"{library} / ours{name}" for library in PEERS for name in OURS.values()]
    header += ["saelens bf16 / ours bf16", *(f"ours / {product}" for product in PRODUCTS)]
    header += ["ours bf16 / bf16 product", "ours int8 / bf16 product"]
    lines = []
    for group in _groups(steps):
        ours = {dtype: group.get(("sdlcore", dtype)) for dtype in OURS}
        cells = _names(group)
        for peer in PEERS:
            row = group.get((peer, "float32"))
            cells += [_ratio(_ms(row), _ms(ours[dtype])) for dtype in OURS]
        cells += [_ratio(_ms(group.get(("saelens", "bfloat16"))), _ms(ours["bfloat16"]))]
        cells += [_ratio(_ms(ours["float32"]), _field(ours["float32"], name)) for name in PRODUCTS.values()]
        for dtype in ("bfloat16", "int8"):
            cells += [_ratio(_ms(ours[dtype]), _field(ours[dtype], "probe_bfloat16_ms"))]
        lines.append(cells)
    return f"""## Speed

A peer's milliseconds a step (float32) over ours, so above 1 is faster than the peer; and ours over the dense product
x @ W_enc.T alone. torch asks MKL for that product, and oneDNN computes it, too. "bf16" and "int8" are our step with the
encoder's product in bfloat16 and in int8; the latents that it proposes are computed again in float32, and kept by that.

{_table(header, lines)}"""


def _milliseconds(steps: Sequence[Row]) -> str:
    if not steps:
        return ""
    header = ["method", "L0", "B", *map(_title, COLUMNS), *PRODUCTS, "product bf16"]
    lines = []
    for group in _groups(steps):
        any_row = next(iter(group.values()))
        cells = [*_names(group), *(_number(_ms(group.get(column)), 0) for column in COLUMNS)]
        cells += [_number(_field(any_row, name), 0) for name in (*PRODUCTS.values(), "probe_bfloat16_ms")]
        lines.append(cells)
    spread = max(float(row["ms_most"]) / float(row["ms_least"]) for row in steps)
    return f"""Milliseconds a step, the median over rounds. In no row did the slowest round take more than {spread:.2f}
times the fastest.

{_table(header, lines)}"""


def _memory(steps: Sequence[Row]) -> str:
    if not steps:
        return ""
    header = ["method", "L0", "B", *map(_title, COLUMNS), *(f"ours{name} / budget" for name in OURS.values())]
    lines = []
    for group in _groups(steps):
        ours = [group.get(("sdlcore", dtype)) for dtype in OURS]
        cells = [*_names(group), *(_number(_field(group.get(column), "peak_mb"), 0) for column in COLUMNS)]
        cells += [_number(_field(row, "peak_to_budget"), 2) for row in ours]
        lines.append(cells)
    return f"""## Memory

MiB that training steps take at most, beyond the process with everything imported and nothing in training. The budget is
parameters, Adam's moments, gradients, the batch, and one batch x n_q buffer in the encoder's type.

{_table(header, lines)}"""


def _race(recovery: Sequence[Row]) -> str:
    if not recovery:
        return ""
    best = _best(recovery)
    header = ["library", "recovery", "seconds", "steps", "learning rate", "optimiser", "others tried"]
    lines = []
    for (library, dtype, threshold), row in best.items():
        others = [other for other in recovery if other is not row and _same_race(other, row)]
        lines.append(
            [
                _title((library, dtype)),
                f"{threshold:g}",
                _seconds(row),
                str(row["steps"]),
                f"{float(row['lr']):.2g} ({row['rule']})",
                str(row["optimizer"]),
                "; ".join(_outcome(other) for other in others) or "-",
            ]
        )
    return f"""## Time to recovery

Seconds of TopK training (evaluation excluded, looked at every ten steps) until the given share of the 1000 true
features has a decoder row with |cosine| above .9, for the better of a library's learning rates.

{_table(header, lines)}"""


def _rank(row: Row) -> tuple[bool, float, float]:
    reached = _is_reached(row)
    return (not reached, float(row["seconds"]) if reached else 0.0, -float(row["final_recovery"]))


def _same_race(a: Row, b: Row) -> bool:
    return all(a[key] == b[key] for key in ("library", "dtype", "threshold"))


def _outcome(row: Row) -> str:
    end = f"{float(row['seconds']):.1f} s"
    if not _is_reached(row):
        end = f"{float(row['final_recovery']):.3f} when stopped after {end}"
    return f"{float(row['lr']):.2g}, {row['optimizer']}: {end}"


def _groups(steps: Sequence[Row]) -> list[dict[tuple[str, str], Row]]:
    """Return the rows in groups that are compared with each other, by library and type."""
    found: dict[tuple[Any, ...], dict[tuple[str, str], Row]] = {}
    for row in steps:
        key = (row["method"], row["state"], row["batch"])
        found.setdefault(key, {})[row["library"], row["dtype"]] = row
    return list(found.values())


def _names(group: Mapping[tuple[str, str], Row]) -> list[str]:
    row = next(iter(group.values()))
    return [str(row["method"]), str(row["state"]), str(row["batch"])]


def _ms(row: Row | None) -> float | None:
    return _field(row, "ms_per_step")


def _field(row: Row | None, name: str) -> float | None:
    value = "" if row is None else row.get(name, "")
    return None if value == "" else float(value)


def _ratio(a: float | None, b: float | None) -> str:
    return _number(a / b if a is not None and b is not None else None, 2)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _title(column: tuple[str, str]) -> str:
    library, dtype = column
    return library + OURS[dtype]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
