"""Figures from histories and stores on disk."""

import json

import numpy as np
import pytest
import scipy.sparse
from matplotlib.image import imread
from matplotlib.text import Text

from sdlstudy.rendering.figure6 import figure6, figure6_summary, read_histories
from sdlstudy.rendering.figure8 import figure8
from sdlstudy.rendering.figures import save_figure
from sdlstudy.results.runs import RunsError

LABELS = {"with": "resampled", "without": "not resampled"}
ROWS = 20


def write_run(folder, variant, seed, events=(), rows=ROWS, drop=None):
    return write_history(folder / variant / f"seed{seed}", variant, seed, events, rows, drop)


def write_history(directory, variant, seed, events=(), rows=ROWS, drop=None):
    """Write history.csv and metrics.json of a run that resampled at the rows of ``events``."""
    rng = np.random.default_rng(seed)
    columns = {
        "step": 10 * np.arange(1, rows + 1),
        "reconstruction": 100 / np.arange(1, rows + 1) + rng.random(rows),
        "dead_fraction": rng.random(rows) / 2,
        "resampled": np.zeros(rows, int),
    }
    for row, count in events:
        columns["resampled"][row] = count
    columns.pop(drop, None)
    directory.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (directory / "history.csv").write_text("\n".join(lines) + "\n")
    run = {"source": "s", "method": variant, "protocol": "best", "anchoring": "none", "seed": seed}
    metrics = {"l0": 4.0, "fvu": 0.1 + seed / 100, "dead_fraction": 0.25}
    (directory / "metrics.json").write_text(json.dumps({"run": run, "metrics": metrics, "chance": {}}))
    return directory


def histories(folder, events_by_seed):
    seeds = range(len(events_by_seed))
    return {
        "without": read_histories([write_run(folder, "without", seed) for seed in seeds]),
        "with": read_histories([write_run(folder, "with", seed, events_by_seed[seed]) for seed in reversed(seeds)]),
    }


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def assert_saved_the_same_twice(make, folder):
    for name in ("a", "b"):
        save_figure(make(), folder / f"{name}.png", folder / f"{name}.pdf")
    for suffix in ("png", "pdf"):
        assert (folder / f"a.{suffix}").read_bytes() == (folder / f"b.{suffix}").read_bytes()
    assert (folder / "a.pdf").read_bytes().startswith(b"%PDF-")
    assert b"CreationDate" not in (folder / "a.pdf").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    height, width, _ = imread(folder / "a.png").shape
    assert width >= 1000
    assert height >= 600


def test_figure6_is_saved_whole_and_the_same_each_time(tmp_path):
    data = histories(tmp_path / "runs", [[(5, 30), (9, 4)], [(5, 10)]])
    (tmp_path / "out").mkdir()
    assert_saved_the_same_twice(lambda: figure6(data, LABELS, "title"), tmp_path / "out")


def test_figure6_names_lines_axes_and_numbers_of_resampled_latents(tmp_path):
    figure = figure6(histories(tmp_path, [[(5, 30), (9, 4)], [(5, 10)]]), LABELS, "my title")
    words = texts(figure)
    for text in ("resampled", "not resampled", "my title", "training step", "20 resampled", "2 resampled"):
        assert text in words
    assert "never fired" not in words
    lines = figure.axes[0].get_lines()
    assert len([line for line in lines if len(line.get_xdata()) == ROWS]) == 2 * (2 + 1)


def test_figure6_says_where_resampling_never_fired(tmp_path):
    words = texts(figure6(histories(tmp_path / "some", [[(5, 30)], []]), LABELS))
    assert "Resampling never fired in seed 1." in words
    words = texts(figure6(histories(tmp_path / "none", [[], []]), LABELS))
    assert "Resampling never fired in seeds 0, 1, so this figure does not show its effect." in words


def test_many_events_are_marked_without_numbers(tmp_path):
    figure = figure6(histories(tmp_path, [[(row, 7) for row in range(2, 18)]]), LABELS)
    assert "7" not in {text.get_text() for text in figure.findobj(Text)}


def test_figure6_summary(tmp_path):
    data = histories(tmp_path, [[(5, 30), (9, 4)], []])
    summary = figure6_summary(data)
    assert list(summary.columns) == [
        *("variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note")
    ]
    assert list(zip(summary["variant"], summary["seed"], strict=True)) == [
        *(("without", 0), ("without", 1), ("with", 0), ("with", 1))
    ]
    assert list(summary["resampled"]) == [0, 0, 34, 0]
    assert list(summary["events"]) == [0, 0, 2, 0]
    assert list(summary["fvu"]) == pytest.approx([0.1, 0.11, 0.1, 0.11])
    assert summary["note"].isna().tolist() == [True, True, True, False]
    assert summary["note"].iloc[3] == "resampling never fired"
    last_tenth = data["with"][0][0]["reconstruction"].to_numpy()[-2:]
    assert summary["final_loss"].iloc[2] == pytest.approx(last_tenth.mean())


def one_seed(fine, _):
    return fine | {"with": {0: fine["with"][0]}}


def shorter(fine, folder):
    return fine | {"with": read_histories([write_run(folder / "short", "with", seed, rows=5) for seed in (0, 1)])}


def resampled(fine, folder):
    return fine | {"without": histories(folder / "did", [[(3, 1)], []])["with"]}


def compared(change):
    return lambda folder: figure6_summary(change(histories(folder / "fine", [[], []]), folder))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (compared(one_seed), r"seeds \[0, 1\].*\[0\]"),
        (compared(shorter), "other steps"),
        (compared(resampled), "without resampling with seed 0 did resample"),
        *(
            (
                lambda folder, column=column: read_histories([write_run(folder, "with", 0, drop=column)]),
                rf"history\.csv: column {column} is missing",
            )
            for column in ("step", "reconstruction", "dead_fraction", "resampled")
        ),
        (lambda folder: read_histories([write_run(folder / x, "with", 0) for x in "ab"]), "second run with seed 0"),
        (lambda folder: read_histories([write_run(folder, "with", 0, rows=0)]), "no rows"),
        (lambda _: read_histories([]), "at least one"),
    ],
)
def test_histories_that_are_none_or_cannot_be_compared_are_refused(call, message, tmp_path):
    with pytest.raises(RunsError, match=message):
        call(tmp_path)


@pytest.mark.parametrize(("rows", "samples", "message"), [(2, None, "3 x n"), (3, 10, "do not fit")])
def test_figure8_refuses_other_dimensions(rows, samples, message):
    W, x, coefficients = bench()
    with pytest.raises(ValueError, match=message):
        figure8(W[:rows], x[:samples], coefficients)


def bench(n=4, samples=200, seed=0):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((3, n))
    W /= np.linalg.norm(W, axis=0)
    coefficients = rng.exponential(size=(samples, n)) * (rng.random((samples, n)) < 0.4)
    return W, coefficients @ W.T, scipy.sparse.csr_array(coefficients)


def test_figure8_is_saved_whole_and_the_same_each_time(tmp_path):
    assert_saved_the_same_twice(lambda: figure8(*bench()), tmp_path)


def test_figure8_shows_every_feature_and_counts_samples_without_any():
    W, samples, coefficients = bench()
    figure = figure8(W, samples, coefficients)
    words = texts(figure)
    for text in ("Ground-truth features ($n$ = 4)", "Data samples", "$w_{4}$ largest", "dimension 3"):
        assert text in words
    silent = int((coefficients.toarray().max(axis=1) == 0).sum())
    assert f"no active feature ({silent}, at the origin)" in words
    # more features than the palette has colours
    assert "$n$ = 12" in texts(figure8(*bench(n=12)))
