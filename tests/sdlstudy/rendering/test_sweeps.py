"""Tables and figures over a sweep, from metrics files of made-up runs."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.rendering.figures import save_figure
from sdlstudy.rendering.latex import latex
from sdlstudy.rendering.markup import readable, text_table
from sdlstudy.rendering.sweep_figure import figure_sweep
from sdlstudy.rendering.sweeps import effects_over, runs_over, table_over
from sdlstudy.results.runs import RunsError, read_runs
from sdlstudy.results.tables import anchoring_effect, read_csv, read_paper, table1, write_csv
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY
from tests.sdlstudy.results.test_tables import write_grid, write_metrics

NUMBERS = read_csv(REPOSITORY / "resources/paper/numbers.csv")
DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")
QUICK, FULL = validate(DEFAULT), validate(merge(DEFAULT, load_yaml(REPOSITORY / "config/paper.yaml")))


def write_sweep(folder, layout):
    """Write the metrics files of every run of a layout."""
    return [
        write_metrics(folder, seed, method, anchoring, protocol, point.source)
        for point in layout.points
        for method in point.methods.values()
        for anchoring in layout.anchorings
        for protocol in layout.protocols
        for seed in layout.seeds
    ]


def written_table(folder, config, name, **changes):
    layout = config.tables[name].layout(config)._replace(**changes)
    runs = read_runs(write_sweep(folder, layout))
    return layout, runs, table_over(runs, read_paper(NUMBERS, name), layout)


def texts(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def test_rows_are_values_then_methods_then_anchorings(tmp_path):
    _, _, table = written_table(tmp_path, QUICK, "table6")
    rows = list(table[["parameter", "value", "paper_value", "method", "anchoring"]].itertuples(index=False, name=None))
    assert rows == [
        ("sparsity", value, paper, method, anchoring)
        for value, paper in ((0.985, 0.005), (0.97, 0.01), (0.9, 0.1))
        for method in ("jumprelu", "topk")
        for anchoring in ("none", "ground_truth")
    ]


def test_each_point_is_a_separate_table(tmp_path):
    layout, runs, table = written_table(tmp_path, QUICK, "table4", seeds=[0, 1, 2])
    effects = effects_over(runs, layout)
    for point in layout.points:
        alone = runs[runs["source"] == point.source]
        expected = table1(alone, read_paper(NUMBERS, "table1")).filter(regex="_(mean|std)$")
        here = table[table["value"] == point.value].reset_index(drop=True)
        pd.testing.assert_frame_equal(here[expected.columns], expected, check_dtype=False)
        changes = effects[effects["value"] == point.value]["difference_mean"].to_numpy()
        np.testing.assert_array_equal(changes, anchoring_effect(alone)["difference_mean"])


@pytest.mark.parametrize(
    ("name", "value", "method", "anchoring", "recovery", "mip"),
    [
        ("table4", 900, "relu", "ground_truth", 0.9889, 0.345),
        ("table5", 0.2, "batchtopk", "ground_truth", 0.907, 0.989),
        ("table6", 0.995, "jumprelu", "ground_truth", 0.748, 0.97),
        ("table6", 0.9, "matryoshka", "none", 0.997, 0.991),
        ("table7", 32, "topk", "none", 1.0, 0.999),
    ],
)
def test_the_papers_number_stands_beside_the_same_point(tmp_path, name, value, method, anchoring, recovery, mip):
    _, _, table = written_table(tmp_path, FULL, name)
    row = table.set_index(["value", "method", "anchoring"]).loc[(value, method, anchoring)]
    assert (row["paper_gt_recovery"], row["paper_mip"]) == (recovery, mip)


def test_points_that_the_papers_tables_lack_have_no_number_beside(tmp_path):
    for name, value in (("table5", 0.1), ("table6", 0.95)):
        _, _, table = written_table(tmp_path / name, FULL, name)
        lacking = table["paper_gt_recovery"].isna()
        assert set(table["value"][lacking]) == {value}


def test_runs_are_named_as_they_ran_and_say_whose_number_is_theirs(tmp_path):
    layout, runs, table = written_table(tmp_path, QUICK, "table7")
    write_csv(tmp_path / "runs.csv", runs_over(runs, layout))
    rows = read_csv(tmp_path / "runs.csv")
    assert list(rows.columns[:9]) == [
        *("source", "method", "protocol", "anchoring", "seed"),
        *("paper_method", "parameter", "value", "paper_value"),
    ]
    named = rows[["method", "paper_method", "parameter", "value", "paper_value"]].drop_duplicates()
    assert named.to_numpy().tolist() == [
        ["topk_k_8", "TopK SAE", "k", 8, 32],
        ["topk", "TopK SAE", "k", 16, 64],
        ["topk_k_32", "TopK SAE", "k", 32, 128],
    ]
    assert rows["gt_recovery_encoder"].tolist() == runs["gt_recovery_encoder"].tolist()
    assert set(table["method"]) == {"topk"}


def test_a_table_without_a_sweep_has_the_same_columns_empty(tmp_path):
    layout = QUICK.tables["table1"].layout(QUICK)._replace(methods=["topk", "relu"], nulls=[], protocols=["best"])
    layout = layout._replace(points=[layout.points[0]._replace(methods={"topk": "topk", "relu": "relu"})])
    runs = read_runs(write_grid(tmp_path))
    table = table_over(runs, read_paper(NUMBERS, "table1"), layout)
    assert table[["parameter", "value", "paper_value"]].isna().all(axis=None)
    assert table["paper_l0"].notna().all()
    rows = runs_over(runs, layout)
    assert rows[["parameter", "value", "paper_value"]].isna().all(axis=None)
    assert set(rows["paper_method"]) == {"TopK SAE", "ReLU SAE"}
    assert readable(table).labels == ["Method", "Anchoring"]


def test_markdown_and_latex_name_the_value_and_the_papers_where_it_is_another(tmp_path):
    _, _, table = written_table(tmp_path / "quick", QUICK, "table7")
    text = text_table(table, "Caption.").markdown()
    assert text.splitlines()[2].startswith("| k ")
    assert "| 8 (paper: 32) " in text
    assert "L0: paper" not in text
    assert r"8 (paper: 32) & TopK SAE & none &" in latex(table, "Caption.", "tab:table7")
    _, _, table = written_table(tmp_path / "full", FULL, "table7")
    assert "| 32  " in text_table(table, "").markdown()


@pytest.mark.parametrize(
    ("change", "points", "message"),
    [
        (
            lambda runs: runs[runs["source"] != "lrb_n_154"],
            None,
            "no run with n = 154 was given, expected runs on source lrb_n_154",
        ),
        (lambda runs: runs[1:], None, "anchoring none, seed 0 is missing"),
        (lambda runs: runs, 2, "a run on source lrb_n_154 with method relu does not belong to this table"),
    ],
)
def test_runs_of_a_point_that_are_missing_or_foreign_are_refused(change, points, message, tmp_path):
    layout, runs, _ = written_table(tmp_path, QUICK, "table4")
    with pytest.raises(RunsError, match=message):
        table_over(change(runs), read_paper(NUMBERS, "table4"), layout._replace(points=layout.points[:points]))


def test_the_figure_draws_means_and_the_papers_numbers_of_encoder_and_decoder(tmp_path):
    _, _, table = written_table(tmp_path, QUICK, "table6", seeds=[0, 1])
    figure = figure_sweep(table)
    assert len(figure.axes) == 2 * 2
    words = texts(figure)
    assert {"JumpReLU SAE", "TopK SAE", "S", "0.985\n(0.005)", "the paper's (encoder)"} <= words
    for row, side in enumerate(("encoder", "decoder")):
        panel = figure.axes[2 * row + 1]
        drawn = [line.get_ydata() for line in panel.get_lines() if len(line.get_ydata()) == 3]
        topk = table[table["method"] == "topk"]
        expected = [topk[topk["anchoring"] == name] for name in ("none", "ground_truth")]
        for rows in expected:
            assert any(np.allclose(y, rows[f"gt_recovery_{side}_mean"]) for y in drawn)
            beside = any(np.allclose(y, rows["paper_gt_recovery"]) for y in drawn)
            assert beside == (side == "encoder")
        assert len(panel.containers) == 2  # with error bars
        bars = panel.containers[0].lines[2][0].get_segments()
        assert bars[0][1][1] - bars[0][0][1] == pytest.approx(2 * expected[0][f"gt_recovery_{side}_std"].iloc[0])


def test_the_figure_tells_protocols_apart_and_is_saved_the_same_each_time(tmp_path):
    layout, _, table = written_table(tmp_path / "runs", QUICK, "table4", protocols=["best", "paper"])
    assert {"protocol best", "protocol paper"} <= texts(figure_sweep(table))
    assert layout.seeds == [0]
    for name in ("a", "b"):
        save_figure(figure_sweep(table), tmp_path / f"{name}.png", tmp_path / f"{name}.pdf")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
