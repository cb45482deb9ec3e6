"""The comparison of alternating convex search with trainings, by processor seconds."""

import time

import pandas as pd

from benchmarks import search_and_training as benchmark
from benchmarks.convex_search import DEVELOPMENT_SEEDS, Case, draw
from benchmarks.shown import ENDS
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.results.tables import read_csv

FACTS = {"cpu": "a processor", "load": 0.5}


def course(way, seed, *points):
    rows = pd.DataFrame(points, columns=["processor_seconds", "recovery"])
    return rows.assign(way=way, seed=seed, **FACTS)


COURSES = pd.concat(
    [
        course(benchmark.SEARCH, 0, (1.0, 0.9), (2.0, 1.0)),
        course(benchmark.SEARCH, 1, (1.5, 0.95), (3.0, 1.0)),
        course(benchmark.NARROW, 0, (4.0, 0.99), (5.0, 0.98)),
        course(benchmark.WIDE, 0, (4.0, 0.5), (9.0, 0.91)),
    ]
)


def test_time_spent_looking_is_not_counted():
    clock = benchmark.Clock()
    with clock.paused():
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    assert 0 <= clock.seconds < 0.05


def test_the_search_and_the_narrow_training_start_with_as_many_directions():
    narrow, wide = benchmark.training_settings(benchmark.NARROW), benchmark.training_settings(benchmark.WIDE)
    assert narrow.model.n_q == benchmark.SEARCH_SETTINGS["n_atoms"] == 2000
    assert wide.model.n_q == 16_000
    samples = {run.training.steps * run.training.batch_size for run in (narrow, wide)}
    assert samples == {392 * 1024}
    assert {run.training.precision for run in (narrow, wide)} == {"float32"}
    assert not set(benchmark.SEEDS) & set(DEVELOPMENT_SEEDS)


def test_both_courses_recover_features(tmp_path):
    store, features = tmp_path / "train.h5", tmp_path / "features.npy"
    draw(Case(40, 32, 8192, 100, 4096, 1000), store, features)
    config = benchmark.training_settings(benchmark.NARROW)
    training = config.training.changed(steps=200, batch_size=512, log_every=50)
    small = config.changed(model=config.model.changed(n_q=100, k=4), training=training)
    search = SolverConfig(n_atoms=100, support=8, batch_size=4096)
    for rows, least in (
        (benchmark.search_course(store, features, 1000, search), 0.9),
        # a training as short as this one ends early
        (benchmark.training_course(store, features, 1000, small), 0.3),
    ):
        assert rows[-1]["recovery"] > least
        seconds = [row["processor_seconds"] for row in rows]
        assert seconds[0] > 0
        assert seconds == sorted(seconds)


def test_a_training_is_cut_off_at_enough_recovered_features(tmp_path):
    store, features = tmp_path / "train.h5", tmp_path / "features.npy"
    draw(Case(4, 8, 512, 8, 256, 1000), store, features)
    config = benchmark.training_settings(benchmark.NARROW)
    small = config.changed(model=config.model.changed(n_q=16, k=2), training=config.training.changed(steps=40))
    rows = benchmark.training_course(store, features, 1000, small, enough=0)
    assert [(row["step"], row["samples"]) for row in rows] == [(10, 10 * 512)]


def test_the_table_has_the_first_time_that_a_share_was_reached():
    caption, _, *lines = benchmark.table(COURSES).splitlines()
    assert "a processor" in caption
    assert lines[2:] == [
        "| search, from 2,000 atoms | 1.0 to 1.5 s | 2.0 to 3.0 s | 2.0 to 3.0 s | 2.0 to 3.0 s |",
        "| TopK, 2,000 latents | 4.0 s | 4.0 s | not reached | cut off |",
        "| TopK, 16,000 latents | 9.0 s | not reached | not reached | cut off |",
    ]


def test_the_picture_has_a_curve_for_each_way_and_seed():
    (axes,) = benchmark.picture(COURSES).axes
    assert [len(line.get_xdata()) for line in axes.lines[:4]] == [2, 2, 2, 2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(benchmark.TITLES.values())


def test_the_page_shows_what_was_measured():
    text = benchmark.PAGE.read_text()
    page_table = text.partition(benchmark.BEGINS)[2].partition(ENDS)[0].strip()
    rows = read_csv(benchmark.CSV)
    assert page_table == benchmark.table(rows)
    assert sorted(set(rows["seed"])) == list(benchmark.SEEDS)
