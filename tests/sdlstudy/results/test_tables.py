"""Tables over runs, from metrics files on disk to CSV, Markdown and LaTeX."""

import json
import math
import random
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sdlcore import paired_interval
from sdlcore.storage.checksums import with_checksum
from sdlcore.storage.files import write_json
from sdlstudy.configuration.loading import validate
from sdlstudy.products.captions import table_caption
from sdlstudy.rendering.latex import latex, latex_escape
from sdlstudy.rendering.markup import readable, text_table
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import RunsError, read_metrics, read_runs
from sdlstudy.results.tables import (
    PAPER_METHODS,
    anchoring_effect,
    chance_metrics,
    effect_metrics,
    no_paper,
    read_csv,
    read_paper,
    table1,
    table_metrics,
    write_csv,
)
from sdlstudy.results.verdicts import judge
from tests.hostile import NAMES

NUMBERS = read_csv(Path(__file__).parents[3] / "resources/paper/numbers.csv")
METHODS = ["relu", "jumprelu", "topk", "batchtopk", "matryoshka", "transcoder", "crosscoder"]
TRIAL = {
    "name": "trial",
    "seeds": [0, 1, 2],
    "sources": {"bench": {"lrb": {"n": 20, "n_p": 10, "sparsity": 0.9, "train_samples": 50, "run": {"n_q": 40}}}},
    "methods": {"topk": {"activation": "topk", "k": 4}, "relu": {}},
    "protocols": {"best": {"run": {"steps": 7, "batch_size": 50}, "methods": {}}},
    "anchorings": {"ground_truth": {"n_anchors": 3, "lambda_anchor": 0.1}},
    "tables": {
        "table1": {
            "source": "lrb",
            "methods": ["topk", "relu"],
            "anchorings": ["none", "ground_truth"],
            "protocols": ["best"],
        }
    },
}


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


def test_columns_are_exactly_these(tmp_path):
    table = table1(read_runs(write_grid(tmp_path)), read_paper(NUMBERS, "table1"))
    first = [
        *("method", "anchoring", "protocol", "seeds", "gt_recovery_encoder_mean", "gt_recovery_encoder_std"),
        *("gt_recovery_decoder_mean", "gt_recovery_decoder_std", "gt_recovery_encoder_unanchored_mean"),
        *("gt_recovery_encoder_unanchored_std", "gt_recovery_decoder_unanchored_mean"),
        *("gt_recovery_decoder_unanchored_std", "mip_encoder_mean", "mip_encoder_std", "mip_decoder_mean"),
        *("mip_decoder_std", "l0_mean", "l0_std", "fvu_mean", "fvu_std", "dead_fraction_mean", "dead_fraction_std"),
    ]
    last = [
        *("chance_gt_recovery_encoder_mean", "chance_gt_recovery_decoder_mean", "chance_mip_encoder_mean"),
        *("chance_mip_decoder_mean", "chance_gt_recovery_encoder_tau95_mean", "chance_gt_recovery_decoder_tau95_mean"),
        *("chance_gt_recovery_encoder_pattern_mean", "chance_mip_encoder_pattern_mean", "paper_gt_recovery"),
        *("paper_mip", "paper_l0"),
    ]
    columns = list(table.columns)
    assert columns[: len(first)] == first
    assert columns[-len(last) :] == last
    middle = [f"{name}_{part}" for name in table_metrics()[9:] for part in ("mean", "std")]
    assert columns[len(first) : -len(last)] == middle


def test_means_and_standard_deviations(tmp_path):
    paths = write_grid(tmp_path)
    table = table1(read_runs(paths), read_paper(NUMBERS, "table1"))
    for name in table_metrics():
        of_first_row = values(paths[:3], name)
        assert table.loc[0, f"{name}_mean"] == pytest.approx(of_first_row.mean())
        assert table.loc[0, f"{name}_std"] == pytest.approx(np.std(of_first_row, ddof=1))
    assert list(table["seeds"]) == [3] * 4


def test_paper_stands_beside_as_fractions(tmp_path):
    table = table1(read_runs(write_grid(tmp_path)), read_paper(NUMBERS, "table1")).set_index(["method", "anchoring"])
    assert table.loc[("topk", "ground_truth"), "paper_gt_recovery"] == 0.8763
    assert table.loc[("topk", "none"), "paper_mip"] == 0.983
    assert table.loc[("relu", "none"), "paper_l0"] == 2787.4


def test_rows_follow_the_configuration_whatever_the_order_of_files(tmp_path):
    paths = write_grid(tmp_path, methods=METHODS, seeds=(0,))
    table = table1(
        read_runs(reversed(paths)),
        read_paper(NUMBERS, "table1"),
        methods=METHODS,
        anchorings=["none", "ground_truth"],
        protocols=["best"],
        seeds=[0],
    )
    assert list(table["method"].unique()) == METHODS
    assert list(table["anchoring"][:2]) == ["none", "ground_truth"]
    assert table["paper_gt_recovery"].notna().all()


def test_one_seed_has_no_spread_and_the_file_says_so_by_an_empty_field(tmp_path):
    table = table1(read_runs(write_grid(tmp_path, seeds=(0,))), read_paper(NUMBERS, "table1"))
    assert table.filter(like="_std").isna().all(axis=None)
    write_csv(tmp_path / "table.csv", table)
    row = (tmp_path / "table.csv").read_text().splitlines()[1].split(",")
    assert row[list(table.columns).index("l0_std")] == ""
    assert "±" not in text_table(table, "").markdown().split("\n\n", 1)[1]
    again = read_csv(tmp_path / "table.csv")
    assert list(again["anchoring"]) == ["none", "ground_truth"] * 2
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_a_seed_without_a_value_leaves_mean_and_spread_empty(tmp_path):
    paths = write_grid(tmp_path)
    write_metrics(tmp_path, 1, "topk", "none", macro_f1=None)
    table = table1(read_runs(paths), read_paper(NUMBERS, "table1"))
    assert np.isnan(table.loc[0, "macro_f1_mean"])
    assert np.isnan(table.loc[0, "macro_f1_std"])
    assert np.isfinite(table.loc[1, "macro_f1_mean"])


def test_metrics_of_which_a_bit_is_flipped_or_an_end_is_missing_are_refused_or_the_same_numbers(tmp_path):
    path, rng = write_metrics(tmp_path, 0), random.Random(0)
    write_json(path, with_checksum(json.loads(path.read_text())))
    whole, content = read_metrics(path), path.read_bytes()
    refused = []
    for place in rng.sample(range(len(content)), 200):
        flipped = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        for damaged in (flipped, content[:place]):
            path.write_bytes(damaged)
            try:
                result = read_metrics(path)
            except RunsError as error:
                refused.append(str(error))
            else:
                assert all(getattr(result, part) == getattr(whole, part) for part in ("cell", "metrics", "chance"))
    assert len(refused) > 350
    assert all(str(path) in message for message in refused)


def test_tables_show_recovery_at_a_further_threshold(tmp_path):
    best = [0.5, 0.85, 0.99, 0.99]
    paths = [
        with_features(path, [3], encoder=best, decoder=best)
        for path in write_grid(tmp_path, anchorings=("none", "ground_truth"))
    ]
    runs = read_runs(paths, tau=0.8)
    assert set(runs["gt_recovery_decoder_tau80"]) == {0.75}
    assert np.allclose(runs["gt_recovery_decoder_unanchored_tau80"], 2 / 3)
    table = table1(runs, no_paper())
    assert set(table["gt_recovery_encoder_tau80_mean"]) == {0.75}
    assert "GT recovery: decoder, cosine > 0.8" in text_table(table, "caption").markdown()
    usual = table1(read_runs(paths), no_paper())
    assert set(table.columns) - set(usual.columns) == {
        f"{name}_{part}" for name in set(runs.columns) - set(read_runs(paths).columns) for part in ("mean", "std")
    }
    assert "cosine > 0.8" not in text_table(usual, "caption").markdown()


def without_a_run(folder):
    return [path for path in write_grid(folder) if "relu/best/none/seed2" not in str(path)]


def without_ground_truth(folder):
    path = write_metrics(folder, 0)
    content = json.loads(path.read_text())
    content["metrics"] = {"l0": 3.0, "fvu": 0.1, "dead_fraction": 0.0}
    path.write_text(json.dumps(content | {"chance": {}}))
    return [path]


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (without_a_run, {}, r"method relu.*anchoring none, seed 2 is missing"),
        (lambda folder: [write_metrics(folder, 0, "topk"), write_metrics(folder, 1, "relu")], {}, "missing"),
        (
            lambda folder: [write_metrics(folder, seed, "topk") for seed in (0, 1)],
            {"methods": ["topk"], "seeds": [0]},
            "seed 1 does not belong to this table",
        ),
        (lambda folder: [write_metrics(folder, 0), write_metrics(folder, 0, "relu", source="other")], {}, "one source"),
        (without_ground_truth, {}, "gt_recovery_encoder is missing"),
    ],
)
def test_runs_that_make_no_table_are_refused(write, options, message, tmp_path):
    with pytest.raises(RunsError, match=message):
        table1(read_runs(write(tmp_path)), read_paper(NUMBERS, "table1"), **options)


def with_text(text):
    def write(folder):
        (folder / "metrics.json").write_text(text)
        return [folder / "metrics.json"]

    return write


def without_features(folder):
    anchored = with_features(write_metrics(folder, 0, anchoring="ground_truth"), [1], encoder=[0.1, 0.2])
    return [write_metrics(folder, 0), anchored]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda folder: [write_metrics(folder / name, 0) for name in "ab"],
            r"b/lrb\S*metrics\.json: the same run as \S*a/lrb\S*metrics\.json",
        ),
        (without_features, r"none/seed0/metrics\.json: features is missing"),
        (with_text("{"), r"metrics\.json: .*not a readable"),
        (with_text('{"run": {}}'), r"metrics\.json: .*run.source"),
        (with_text("[]"), r"metrics\.json: .*run is missing"),
        (with_text('{"run": 3}'), r"metrics\.json: .*run is"),
    ],
)
def test_metrics_of_no_run_are_refused(write, message, tmp_path):
    with pytest.raises(RunsError, match=message):
        read_runs(write(tmp_path))


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12).filter(lambda x: np.std(x) > 1e-6))
def test_interval_is_the_paired_t_interval(differences):
    mean, low, high = paired_interval(np.array(differences))
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert mean == pytest.approx(np.mean(differences))
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_anchoring_effect_is_paired_by_seed(tmp_path):
    paths = write_grid(tmp_path)
    effects = anchoring_effect(read_runs(reversed(paths))).set_index(["method", "metric"])
    for name in effect_metrics():
        expected = scipy.stats.ttest_rel(values(paths[3:6], name), values(paths[:3], name))
        row = effects.loc[("topk", name)]
        interval = expected.confidence_interval(0.95)
        assert row["difference_mean"] == pytest.approx((values(paths[3:6], name) - values(paths[:3], name)).mean())
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high))
    assert set(effects["seeds"]) == {3}


def test_no_interval_below_three_seeds_and_no_effect_without_pairs(tmp_path):
    effects = anchoring_effect(read_runs(write_grid(tmp_path, seeds=(0, 1))))
    assert effects["difference_mean"].notna().all()
    assert effects[["difference_low", "difference_high"]].isna().all(axis=None)
    assert anchoring_effect(read_runs(write_grid(tmp_path, anchorings=("none",)))).empty


def test_markdown_shows_the_numbers_and_ends_with_baselines(tmp_path):
    table = table1(read_runs(write_grid(tmp_path)), read_paper(NUMBERS, "table1"))
    runs = read_runs(write_grid(tmp_path))
    verdicts = judge("table1", NUMBERS, runs.assign(paper_method=runs["method"].map(PAPER_METHODS)))
    lines = text_table(table, "Caption.", verdicts).markdown().splitlines()
    assert lines[0] == "Caption."
    assert [line.split("|")[1].strip() for line in lines[-3:]] == ["Chance", "Anchors only", "Oracle"]
    assert f"{table['anchors_only_mip_decoder_mean'][0]:.3f}" in lines[-2]
    assert f"{table['oracle_fvu_mean'].min():.3f}" in lines[-1]
    assert len(lines) == 2 + 2 + len(table) + 3
    row = table.loc[0]
    assert f"{row['fvu_mean']:.3f} ± {row['fvu_std']:.3f}" in lines[4]
    assert "0.849" in lines[4]
    assert {line.count("|") for line in lines[2:]} == {lines[2].count("|")}


def test_what_no_run_has_has_no_column_and_no_row(tmp_path):
    nothing = {name: None for name in table_metrics() if name.startswith(("top_", "anchors_only_", "oracle_"))}
    paths = [write_metrics(tmp_path, seed, **nothing) for seed in (0, 1)]
    content = readable(table1(read_runs(paths), read_paper(NUMBERS, "table1")))
    assert [name for name, _ in content.baselines] == ["Chance"]
    assert "Top classes" not in {column.group for column in content.columns}


def test_several_protocols_are_named(tmp_path):
    paths = [write_metrics(tmp_path, 0, protocol=name) for name in ("paper", "best")]
    assert readable(table1(read_runs(paths[:1]), read_paper(NUMBERS, "table1"))).labels == ["Method", "Anchoring"]
    assert readable(table1(read_runs(paths), read_paper(NUMBERS, "table1"))).labels == [
        "Method",
        "Anchoring",
        "Protocol",
    ]


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "S"])))
def test_latex_escape_leaves_no_special_character(text):
    rest = latex_escape(text).replace("{[}", "").replace("{*}", "")
    for command in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\textbar{}", r"\textless{}"):
        rest = rest.replace(command, "")
    rest = rest.replace(r"\textgreater{}", "").replace(r"\textquotedbl{}", "")
    rest = re.sub(r"\\[&%$#_{}]", "", rest)
    assert not set(rest) & set('\\&%$#_{}~^|<>"')


def test_latex_has_its_parts_and_compiles(tmp_path):
    paths = [write_metrics(tmp_path, seed, "my_method", a) for a in ("none", "ground_truth") for seed in (0, 1)]
    config = validate(TRIAL)
    caption = table_caption(config.products()["table1"], config)
    text = latex(table1(read_runs(paths), read_paper(NUMBERS, "table1")), caption, "tab:table1")
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"my\_method", "Chance &"):
        assert part in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for tabular in re.findall(r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", text, re.DOTALL):
        rows = [line for line in tabular[1].splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len(rows) == 6
        assert {line.count(" & ") for line in rows} == {len(tabular[0]) - 1}
    # only if LaTeX is installed; the checks above apply everywhere
    if shutil.which("pdflatex") and _has_booktabs():
        (tmp_path / "table.tex").write_text(text)
        (tmp_path / "page.tex").write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{table.tex}\\end{document}\n"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout
        assert "Overfull" not in run.stdout


def _has_booktabs():
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).returncode == 0


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
    assert "\n" not in latex_escape(name)
    assert not re.match(r"\s*[\[*]", latex_escape(name))
