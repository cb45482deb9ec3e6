"""Tables over runs, from metrics files on disk to rows and text."""

import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sdlstudy.rendering.run_text import text_table
from sdlstudy.rendering.text_table import TextTable, latex_text
from sdlstudy.results.runs import RunsError, read_runs
from sdlstudy.results.tables import (
    Point,
    chance_metrics,
    effect_metrics,
    effects_over,
    read_csv,
    read_paper,
    runs_over,
    table_metrics,
    table_over,
    write_csv,
)
from sdlstudy.results.verdicts import judge
from tests.hostile import NAMES
from tests.sdlstudy.products import studies

NUMBERS = read_csv(Path(__file__).parents[3] / "resources/paper/numbers.csv")
TABLE1 = read_paper(NUMBERS, "table1")
QUICK, FULL = studies.configuration(), studies.configuration(None, "paper")


def placed(paths):
    """Return the runs of a table without a sweep."""
    runs = read_runs(paths)
    return runs_over(runs, [Point(None, None, "lrb", {method: method for method in runs["method"]})])


def write_metrics(folder, seed, method="topk", anchoring="none", protocol="best", source="lrb", **changes):
    """Write the metrics file of one run, with random numbers that depend only on the run."""
    rng = np.random.default_rng([seed, len(method), len(anchoring)])
    metrics = {name: rng.random() for name in [*table_metrics(), "gt_recovery_decoder_site0"]}
    run = {"source": source, "method": method, "protocol": protocol, "anchoring": anchoring, "seed": seed}
    content = {
        "run": run,
        "metrics": metrics | changes,
        "chance": {name: rng.random() / 10 for name in chance_metrics()},
        "provenance": {},
    }
    path = folder / source / method / protocol / anchoring / f"seed{seed}" / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_grid(folder, methods=("topk", "relu"), anchorings=("none", "ground_truth"), seeds=(0, 1, 2)):
    return [write_metrics(folder, seed, m, a) for m, a, seed in product(methods, anchorings, seeds)]


def with_features(path, anchored, **similarities):
    """Add the best matches behind recovery to a metrics file."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"features": {"anchored": anchored, **similarities}}))
    return path


def values(paths, name):
    return np.array([json.loads(path.read_text())["metrics"][name] for path in paths])


def swept(folder, config, name, seeds=(0,)):
    """Return the runs of a table of a configuration, without null baselines."""
    table = config.tables[name]
    points = table.points(config)
    cells = [replace(cell, seed=seed) for cell in table.cells(config) if cell.seed == config.seeds[0] for seed in seeds]
    paths = [write_metrics(folder, c.seed, c.method, c.anchoring, c.protocol, c.source) for c in cells]
    return runs_over(read_runs(paths), points, table.sweep.parameter)


def test_rows_follow_the_runs_and_have_means_deviations_and_the_papers_numbers(tmp_path):
    paths = write_grid(tmp_path)
    table = table_over(placed(paths), TABLE1)
    assert list(zip(table["method"], table["anchoring"], strict=True)) == [
        *(("topk", "none"), ("topk", "ground_truth"), ("relu", "none"), ("relu", "ground_truth"))
    ]
    for name in table_metrics():
        of_first_row = values(paths[:3], name)
        assert table.loc[0, f"{name}_mean"] == pytest.approx(of_first_row.mean())
        assert table.loc[0, f"{name}_std"] == pytest.approx(np.std(of_first_row, ddof=1))
    assert list(table["seeds"]) == [3] * 4
    assert table[["parameter", "value", "paper_value"]].isna().all(axis=None)
    assert table.loc[1, "paper_gt_recovery"] == 0.8763
    assert table.loc[0, "paper_mip"] == 0.983
    assert table.loc[2, "paper_l0"] == 2787.4


def test_one_seed_has_no_spread_and_the_file_says_so_by_an_empty_field(tmp_path):
    table = table_over(placed(write_grid(tmp_path, seeds=(0,))), TABLE1)
    assert table.filter(like="_std").isna().all(axis=None)
    write_csv(tmp_path / "table.csv", table)
    row = (tmp_path / "table.csv").read_text().splitlines()[1].split(",")
    assert row[list(table.columns).index("l0_std")] == ""
    assert "±" not in text_table(table, "").markdown().split("\n\n", 1)[1]
    again = read_csv(tmp_path / "table.csv")
    assert list(again["anchoring"]) == ["none", "ground_truth"] * 2
    pd.testing.assert_frame_equal(again, table.astype(again.dtypes))


def test_a_seed_without_a_value_leaves_mean_and_spread_empty(tmp_path):
    paths = write_grid(tmp_path)
    write_metrics(tmp_path, 1, "topk", "none", macro_f1=None)
    table = table_over(placed(paths), TABLE1)
    assert np.isnan([table.loc[0, "macro_f1_mean"], table.loc[0, "macro_f1_std"]]).all()
    assert np.isfinite(table.loc[1, "macro_f1_mean"])


def test_metrics_without_the_features_that_anchored_runs_have_are_refused(tmp_path):
    anchored = with_features(write_metrics(tmp_path, 0, anchoring="ground_truth"), [1], encoder=[0.1, 0.2])
    with pytest.raises(RunsError, match=r"none/seed0/metrics\.json: features is missing"):
        read_runs([write_metrics(tmp_path, 0), anchored])


def test_anchoring_effect_is_paired_by_seed(tmp_path):
    paths = write_grid(tmp_path)
    mixed = [paths[i] for i in (2, 0, 1, 3, 5, 4, *range(6, len(paths)))]  # the order of seeds does not matter
    effects = effects_over(placed(mixed)).set_index(["method", "metric"])
    for name in effect_metrics():
        expected = scipy.stats.ttest_rel(values(paths[3:6], name), values(paths[:3], name))
        row = effects.loc[("topk", name)]
        interval = expected.confidence_interval(0.95)
        assert row["difference_mean"] == pytest.approx((values(paths[3:6], name) - values(paths[:3], name)).mean())
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high))
    assert set(effects["seeds"]) == {3}


def test_no_interval_below_three_seeds_and_no_effect_without_pairs(tmp_path):
    effects = effects_over(placed(write_grid(tmp_path, seeds=(0, 1))))
    assert effects["difference_mean"].notna().all()
    assert effects[["difference_low", "difference_high"]].isna().all(axis=None)
    assert effects_over(placed(write_grid(tmp_path, anchorings=("none",)))).empty


def test_each_point_of_a_sweep_is_a_separate_table(tmp_path):
    runs = swept(tmp_path, QUICK, "table4", (0, 1, 2))
    table = table_over(runs, {})
    assert set(table["parameter"]) == {"n"}
    for (value, source), alone in runs.groupby(["value", "source"]):
        expected = table_over(alone, {}).filter(regex="_(mean|std)$")
        here = table[table["value"] == value].reset_index(drop=True)
        pd.testing.assert_frame_equal(here[expected.columns], expected, check_dtype=False)
        assert source in ("lrb", f"lrb_n_{value}")


@pytest.mark.parametrize(
    ("name", "value", "method", "anchoring", "recovery", "mip"),
    [
        ("table4", 900, "relu", "ground_truth", 0.9889, 0.345),
        ("table6", 0.995, "jumprelu", "ground_truth", 0.748, 0.97),
        ("table7", 32, "topk", "none", 1.0, 0.999),
    ],
)
def test_the_papers_number_stands_beside_the_same_point(tmp_path, name, value, method, anchoring, recovery, mip):
    table = table_over(swept(tmp_path, FULL, name), read_paper(NUMBERS, name))
    row = table.set_index(["value", "method", "anchoring"]).loc[(value, method, anchoring)]
    assert (row["paper_gt_recovery"], row["paper_mip"]) == (recovery, mip)


def test_runs_are_named_as_they_ran_and_say_whose_number_is_theirs(tmp_path):
    runs = swept(tmp_path, QUICK, "table7")
    write_csv(tmp_path / "runs.csv", runs)
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
    assert set(table_over(runs, {})["method"]) == {"topk"}


def test_text_has_the_numbers_and_ends_with_levels_without_training(tmp_path):
    runs = placed(write_grid(tmp_path))
    table, verdicts = table_over(runs, TABLE1), judge("table1", NUMBERS, runs)
    lines = text_table(table, "Caption.", verdicts).markdown().splitlines()
    assert lines[0] == "Caption."
    assert [line.split("|")[1].strip() for line in lines[-3:]] == ["Chance", "Anchors only", "Oracle"]
    assert f"{table['anchors_only_mip_decoder_mean'][0]:.3f}" in lines[-2]
    assert f"{table['oracle_fvu_mean'].min():.3f}" in lines[-1]
    assert len(lines) == 2 + 2 + len(table) + 3
    assert f"{table.loc[0, 'fvu_mean']:.3f} ± {table.loc[0, 'fvu_std']:.3f}" in lines[4]
    assert "0.849" in lines[4]


def test_text_has_no_column_and_no_level_without_numbers_and_names_several_protocols(tmp_path):
    nothing = {name: None for name in table_metrics() if name.startswith(("top_", "anchors_only_", "oracle_"))}
    runs = placed(write_metrics(tmp_path, 0, protocol=name, **nothing) for name in ("paper", "best"))
    frame = text_table(table_over(runs, {}), "").frame
    assert list(frame)[:3] == ["Method", "Anchoring", "Protocol"]
    assert frame["Method"].tolist() == ["TopK SAE", "TopK SAE", "Chance"]
    assert not any(name.startswith("Top classes") for name in frame)


def test_text_names_the_value_and_the_papers_where_it_is_another(tmp_path):
    text = text_table(table_over(swept(tmp_path, QUICK, "table7"), {}), "Caption.")
    assert text.frame["k"][0] == "8 (paper: 32)"
    assert r"8 (paper: 32) & TopK SAE & none &" in text.latex("tab:table7")


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "S"])))
def test_latex_text_leaves_no_special_character(text):
    rest = latex_text(text).replace("{[}", "").replace("{*}", "")
    for word in ("backslash", "asciitilde", "asciicircum", "bar", "less", "greater"):
        rest = rest.replace(rf"\text{word}{{}}", "")
    for character in "&%$#_{}":
        rest = rest.replace(f"\\{character}", "")
    assert not set(rest) & set("\\&%$#_{}~^|<>")


def test_a_run_without_anchors_is_scored_on_the_features_of_the_runs_beside_it(tmp_path):
    best = {"encoder": [0.2, 0.96, 0.92, 0.99]}
    plain = with_features(write_metrics(tmp_path, 0), [], **best)
    anchored = with_features(write_metrics(tmp_path, 0, anchoring="ground_truth"), [3, 1], **best)
    runs = read_runs([plain, anchored]).set_index("anchoring")
    assert runs.loc["none", "gt_recovery_encoder_unanchored"] == 0.5
    assert runs.loc["none", "gt_recovery_encoder_unanchored_tau95"] == 0
    assert runs.loc["none", "gt_recovery_encoder_anchored_tau95"] == 1
    assert runs.loc["none", "mip_encoder_unanchored"] == pytest.approx(0.56)
    # metrics over all features, and metrics of the other run, stay as written
    alone = read_runs([plain]).iloc[0]
    assert runs.loc["none", "gt_recovery_encoder"] == alone["gt_recovery_encoder"]
    assert runs.loc["ground_truth", "mip_encoder_unanchored"] == values([anchored], "mip_encoder_unanchored")[0]
    # another seed's anchors are unrelated to this seed's features
    elsewhere = with_features(write_metrics(tmp_path, 1, anchoring="ground_truth"), [0], **best)
    runs = read_runs([plain, elsewhere]).set_index("anchoring")
    assert runs.loc["none", "mip_encoder_unanchored"] == alone["mip_encoder_unanchored"]


def test_a_run_without_anchors_has_no_scores_by_anchors_of_other_runs(tmp_path):
    best = {"encoder": [0.2, 0.96, 0.92, 0.99]}
    plain = with_features(write_metrics(tmp_path, 0), [0], **best)
    first = with_features(write_metrics(tmp_path, 0, anchoring="ground_truth"), [3, 1], **best)
    second = with_features(write_metrics(tmp_path, 0, anchoring="discovered"), [2], **best)
    as_written = read_runs([plain]).iloc[0]
    for beside in ([first], [first, second]):
        runs = read_runs([plain, *beside]).set_index("anchoring")
        for name in ("anchors_only_mip_encoder", "gt_recovery_encoder_pattern_unanchored"):
            assert math.isnan(runs.loc["none", name])
            assert runs.loc["ground_truth", name] == values([first], name)[0]
        # it is unknown which of several anchorings divides the features
        assert math.isnan(runs.loc["none", "mip_encoder_unanchored"]) == (len(beside) == 2)
        assert runs.loc["none", "mip_encoder"] == as_written["mip_encoder"]
    same = with_features(write_metrics(tmp_path, 0, anchoring="same"), [0], **best)
    runs = read_runs([plain, same]).set_index("anchoring")
    assert runs.loc["none", "anchors_only_mip_encoder"] == as_written["anchors_only_mip_encoder"]


def test_names_of_classes_come_back_from_a_file_as_they_were(tmp_path):
    names = [*NAMES, "nan", "None", "007", "7", "1e5", " led by a space", "True"]
    frame = pd.DataFrame({"latent": range(len(names)), "class": names, "activation": 0.5})
    for some in (frame, frame[frame["class"].str.isdigit()].reset_index(drop=True)):
        write_csv(tmp_path / "classes.csv", some)
        pd.testing.assert_frame_equal(read_csv(tmp_path / "classes.csv"), some, check_dtype=False)
    # cells are not changed to please spreadsheets
    write_csv(tmp_path / "classes.csv", pd.DataFrame({"class": ["=1+1"]}))
    assert (tmp_path / "classes.csv").read_text() == "class\n=1+1\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_ends_no_cell_of_a_table(name):
    table = TextTable("Caption", pd.DataFrame({"class": [name], "count": ["3"]}), 1).markdown()
    _, _, head, _, row, *rest = table.split("\n")
    assert rest == [""]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in (head, row)] == [3, 3]
    assert "\n" not in latex_text(name)
    assert not re.match(r"\s*[\[*]", latex_text(name))
