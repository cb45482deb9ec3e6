"""Write the table and the page of the GPU benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Row, to_csv
from sdlcore.storage.files import atomic_path

COLUMNS = (
    *("library", "kernels", "dtype", "dimension", "latents", "batch", "k", "ms_per_step", "peak_mb"),
    *("ms_least", "ms_most", "steps", "l0"),
)


def write(folder: Path, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Write steps.csv and README.md, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [{key: row[key] for key in COLUMNS} for row in rows]
    for name, content in (("steps.csv", to_csv(wanted, COLUMNS)), ("README.md", page(rows, facts))):
        with atomic_path(folder / name) as part:
            part.write_text(content)


def page(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Return the page: milliseconds and memory, and their ratios to ours in the same or the nearest type."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    failed = "".join(f"- failed: {name}: {why}\n" for name, why in facts["failed"].items())
    left_out = "".join(f"- left out, since no time was left: {name}\n" for name in facts["left_out"])
    missing = f"- not installed, and so not timed: {', '.join(facts['missing'])}\n" if facts["missing"] else ""
    header = ["dimension", "latents", "batch", "library", "kernels", "type", "ms a step", "peak MiB"]
    header += ["step / ours", "step / ours bf16", "memory / ours"]
    lines = [header, ["---"] * len(header)]
    for row in sorted(rows, key=lambda row: (-row["latents"], row["batch"])):
        ours, ours_bf16 = (_ours(rows, row, dtype) for dtype in ("float32", "bfloat16"))
        cells = [str(row[key]) for key in ("dimension", "latents", "batch", "library", "kernels", "dtype")]
        cells += [f"{row['ms_per_step']:.2f}", f"{row['peak_mb']:.0f}"]
        cells += [_ratio(row, other, "ms_per_step") for other in (ours, ours_bf16)]
        lines.append([*cells, _ratio(row, ours, "peak_mb")])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# Training steps of TopK on {facts["card"]}

Made by `make gpu-benchmark`; do not edit. `benchmarks/README.md` says what is timed.

- {facts["date"]}; commit {facts["commit"]}; {versions}
{missing}{failed}{left_out}
A ratio above 1 says that ours, with Triton's kernels, is faster or takes less memory.

{table}
"""


def _ours(rows: Sequence[Row], row: Row, dtype: str) -> Row | None:
    size = ("dimension", "latents", "batch")
    return next(
        (
            other
            for other in rows
            if (other["library"], other["kernels"], other["dtype"]) == ("sdlcore", "triton", dtype)
            and all(other[key] == row[key] for key in size)
        ),
        None,
    )


def _ratio(row: Row, other: Row | None, name: str) -> str:
    return "" if other is None else f"{row[name] / other[name]:.2f}"
