"""The page of metrics: `python -m tests.pages.metrics > docs/metrics.md`."""

from sdlcore.evaluation.metrics import EXPLAINED, METRICS


def markdown() -> str:
    """Return the page."""
    shown = [f"| `{name}` | {text} | {METRICS[name].better or ''} |" for name, text in EXPLAINED.items()]
    rows = [f"| `{m.name}` | {_cell(m.caption)} | {m.better or ''} | {m.runs} |" for m in METRICS.values()]
    heads = ["| metric | what it is | better | which runs have it |", "|---|---|---|---|"]
    return "\n".join([_FIRST, *shown, "", _PAGE, *heads, *rows])


def _cell(text: str) -> str:
    """Return text for a table of Markdown, where a bar would end the cell."""
    return text.replace("|", "\\|")


_FIRST = """# Which metrics are there?

`print(scores)` shows eight, of those that a dictionary has:

| metric | what it says | better |
|---|---|---|"""
_PAGE = """`scores.to_frame()` has all. Beside each value stand `chance`, and two
[null baselines](verdicts.md#what-a-score-is-worth-null-baselines): `directions` and `samples`.

## All of them

`metrics.json` of a run has these. The page is made from the list in `src/sdlcore/evaluation/metrics.py`:
`python -m tests.pages.metrics > docs/metrics.md`.

Recovery and MIP match every feature with its best row of the encoder or column of the decoder. Their names say how:

- `_raw`: by inner products, which the paper's formula takes (section 5.1), in the place of cosines;
- `_pattern`: what encoder rows respond to ([solvers.md](solvers.md)) in the place of the rows;
- `_anchored`, `_unanchored`: over the features that [anchors](anchors.md) give away, in this run or not, or the others;
- `_tau95`: above the paper's second threshold;
- `anchors_only_`: of the anchors, without any training.

What random directions have is in `metrics.json` under `chance`, and in tables under `chance_`. A value is null where
there is nothing to take it over.
"""

if __name__ == "__main__":
    print(markdown())
