import pytest
from matplotlib.text import Text

from sdlstudy.rendering.figures import save_figure
from sdlstudy.rendering.frontier import At, figure_frontier, frontier_table
from sdlstudy.settings.sources import Bench
from tests.sdlstudy.rendering.test_solvers_table import BENCHES, run

BASE = Bench(noise=0.0, sparsity=0.99, train_samples=100000)


@pytest.fixture
def table(tmp_path):
    """Runs with a recovery of 1 - seed / 100, at three points of two parameters; one point has the same runs."""
    history = "step,samples,atoms,seconds\n1,20,200,0.5\n2,40,101,4.25\n"
    folders = {
        (method, seed): run(tmp_path, method, seed, history, solver="acs").parent
        for method in ("acs", "wide")
        for seed in (0, 10)
    }
    points = [("noise", 0.0), ("noise", 1.0), ("sparsity", 0.99), ("sparsity", 0.8)]
    runs = [At(parameter, value, folder) for parameter, value in points for folder in folders.values()]
    return frontier_table(runs, BENCHES)


def test_it_has_a_row_for_each_run_of_each_point(table):
    assert len(table) == 16
    assert list(table)[:3] == ["parameter", "value", "solver"]
    row = table.iloc[5]
    assert (row["parameter"], row["value"], row["solver"], row["seed"]) == ("noise", 1.0, "acs", 10)
    assert (row["gt_recovery_decoder"], row["features_found"], row["samples_taken"]) == (0.9, 101, 40)


def test_lines_are_medians_over_seeds_and_points_are_seeds(table, tmp_path):
    figure = figure_frontier(table, BASE)
    recovery = figure.axes[0]
    lines = {line.get_label(): line for line in recovery.get_lines()}
    assert list(lines["ACS"].get_xdata()) == [0, 1]
    assert lines["ACS"].get_ydata() == pytest.approx([0.95, 0.95])
    points = [line for line in recovery.get_lines() if line.get_marker() == "o"]
    assert sorted(points[0].get_ydata()) == pytest.approx([0.9, 0.9, 1, 1])
    axes = figure.axes[2]
    assert axes.get_lines()[0].get_ydata() == pytest.approx([1.01, 1.01])
    save_figure(figure, tmp_path / "frontier.png", tmp_path / "frontier.pdf")


def test_sparsity_is_drawn_as_the_probability_of_activity_and_what_the_bench_has_is_marked(table):
    figure = figure_frontier(table, BASE)
    sparsity = figure.axes[1]
    assert list(sparsity.get_lines()[0].get_xdata()) == pytest.approx([0.01, 0.2])
    (mark,) = [line for line in sparsity.get_lines() if line.get_linestyle() == ":"]
    assert list(mark.get_xdata()) == pytest.approx([0.01, 0.01])
    assert "P(active)" in {text.get_text() for text in figure.findobj(Text)}


def test_numbers_of_samples_stand_on_a_logarithmic_axis(table):
    samples = table[table["parameter"] == "sparsity"].replace({"sparsity": "train_samples", 0.99: 2000, 0.8: 100000})
    assert figure_frontier(samples, BASE).axes[-1].get_xscale() == "log"
