"""The page of metrics: `python -m tests.pages.metrics > docs/metrics.md`."""

import re

from sdlcore.evaluation.metrics import EXPLAINED, METRICS

COMPOSED = re.compile(
    r"(anchors_only_)?(gt_recovery|mip)_(encoder|decoder)"
    r"(_raw|_pattern)?(_site\d+)?(_anchored|_unanchored)?(_tau95)?"
)
"""Names of recovery and MIP, whose parts the page explains; all other metrics have one row each."""


def markdown() -> str:
    """Return the page."""
    table = [_row(name, text) for name, text in EXPLAINED.items()]
    others = [m for m in METRICS.values() if not COMPOSED.fullmatch(m.name) and m.name not in EXPLAINED]
    rows = [_row(m.name, m.caption) for m in others]
    return "\n".join([_FIRST, *_HEADS, *table, "", _PAGE, *_HEADS, *rows])


def _row(name: str, meaning: str) -> str:
    """Return a metric's row of a table."""
    return f"| `{name}` | {_cell(meaning)} | {METRICS[name].better or ''} | {METRICS[name].runs} |"


def _cell(text: str) -> str:
    """Return text for a table of Markdown, where a bar would end the cell."""
    return text.replace("|", "\\|")


_FIRST = """# Which metrics are there?

`print(scores)` shows these metrics, `scores.to_frame()` all metrics of a dictionary. Beside each value are `chance` and
two [null baselines](paper.md#what-a-score-is-worth-null-baselines), `directions` and `samples`.
"""
_HEADS = ("| metric | meaning | better | runs |", "|---|---|---|---|")
_PAGE = """\
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
| `_tau95` | threshold .95 instead of .9 |

## All other metrics
"""

if __name__ == "__main__":
    print(markdown())
