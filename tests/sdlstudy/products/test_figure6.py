"""Figure 6, made from files on disk."""

import pytest
from matplotlib.text import Text

from sdlstudy.rendering import figures
from sdlstudy.rendering.labels import label_method
from tests.sdlstudy.products import studies
from tests.sdlstudy.rendering.test_figures import write_history

FIGURE6 = {"source": "smollm2", "without": "topk_real", "with": "topk_real_resampled"}


def write_runs(folder, config, events=((4, 9),)):
    """Write runs of each side; the resampled one has events at the given rows."""
    for side in ("without", "with"):
        for cell in config.figures.figure6.runs(config, side):
            directory = folder / config.files().run(cell)
            write_history(directory, cell.method, cell.seed, events if side == "with" else ())


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "resampled every 100 steps"),
        pytest.param(
            {
                "methods": {"topk_real_resampled": {"resample_every": None}},
                "protocols": {"best": {"methods": {"topk_real_resampled": {"resample_every": 100}}}},
            },
            "topk_real_resampled",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["by the method", "by the protocol"],
)
def test_it_says_what_was_resampled_where_and_how_often(tmp_path, monkeypatch, change, label):
    config = studies.alone(change | {"figures": {"figure6": FIGURE6}})
    write_runs(tmp_path, config)
    drawn = []
    save = figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, *files: (drawn.append(figure), save(figure, *files)))
    rows = studies.pictured(tmp_path, studies.make(config, "figure6", tmp_path), "figure6")
    assert rows[["variant", "seed", "resampled"]].to_numpy().tolist() == [
        *(["without", seed, 0] for seed in config.seeds),
        *(["with", seed, 9] for seed in config.seeds),
    ]
    texts = {text.get_text() for text in drawn[0].findobj(Text)}
    assert {label, "not resampled"} <= texts
    assert f"{label_method('topk_real')}, on smollm2" in texts


def test_its_inputs_are_histories_and_metrics_of_both_sides():
    config = studies.alone({"seeds": [0], "figures": {"figure6": FIGURE6}})
    folder = "results/quick/runs/smollm2"
    assert config.products()["figure6"].inputs(config.files()) == [
        f"{folder}/{method}/best/none/seed0/{file}"
        for method in ("topk_real", "topk_real_resampled")
        for file in ("history.csv", "metrics.json")
    ]
