"""Figure 6, made from files on disk."""

import json

import numpy as np
import pytest
from matplotlib.text import Text

from tests.sdlstudy.products import studies

FIGURE6 = {"source": "smollm2", "without": "topk_real", "with": "topk_real_resampled"}
ROWS = 20


def write_history(directory, cell, events=()):
    """Write history.csv and metrics.json of a run that resampled at the rows of ``events``."""
    rng = np.random.default_rng(cell.seed)
    columns = {
        "step": 10 * np.arange(1, ROWS + 1),
        "reconstruction": 100 / np.arange(1, ROWS + 1) + rng.random(ROWS),
        "dead_fraction": rng.random(ROWS) / 2,
        "resampled": np.zeros(ROWS, int),
    }
    for row, count in events:
        columns["resampled"][row] = count
    directory.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (directory / "history.csv").write_text("\n".join(lines) + "\n")
    metrics = {"l0": 4.0, "fvu": 0.1 + cell.seed / 100, "dead_fraction": 0.25}
    (directory / "metrics.json").write_text(json.dumps({"run": vars(cell), "metrics": metrics, "chance": {}}))
    return columns["reconstruction"]


def test_it_says_what_was_resampled_where_and_how_often(tmp_path):
    """The first of two seeds resamples twice, the second never."""
    config = studies.alone({"seeds": [0, 1], "figures": {"figure6": FIGURE6}})
    figure6, files = config.products()["figure6"], config.files()
    losses = [
        write_history(tmp_path / files.run(cell), cell, [(5, 30), (9, 4)] if cell.seed == 0 and side == "with" else ())
        for side in ("without", "with")
        for cell in figure6.runs(config, side)
    ]
    rows = studies.pictured(tmp_path, studies.make(config, "figure6", tmp_path), "figure6")
    assert list(rows) == ["variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note"]
    assert rows[["variant", "seed", "resampled", "events"]].to_numpy().tolist() == [
        *(["without", 0, 0, 0], ["without", 1, 0, 0], ["with", 0, 34, 2], ["with", 1, 0, 0])
    ]
    assert rows["fvu"].tolist() == pytest.approx([0.1, 0.11, 0.1, 0.11])
    assert rows["final_loss"].tolist() == pytest.approx([loss[-2:].mean() for loss in losses])
    assert rows["note"].isna().tolist() == [True, True, True, False]
    with studies.chdir(tmp_path):
        texts = "\n".join(text.get_text() for text in figure6.draw(rows, files).findobj(Text))
    for text in ("resampled every 100 steps", "15 resampled", "2 resampled", "Resampling never fired in seed 1."):
        assert text in texts
