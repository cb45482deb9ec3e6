"""Tables of runs, made from files on disk."""

import json

import pandas as pd
import pytest

from sdlstudy.results.runs import RunsError
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies
from tests.sdlstudy.results.test_tables import write_metrics

TABLE = {"source": "lrb", "methods": ["topk", "relu"], "anchorings": ["none", "ground_truth"]}


def write_runs(folder, config, name):
    runs = folder / config.files().results / "runs"
    for cell in config.tables[name].cells(config):
        write_metrics(runs, cell.seed, cell.method, cell.anchoring, cell.protocol, cell.source)


def written_table(folder, name, **table):
    config = studies.alone({"tables": {name: TABLE | table}})
    write_runs(folder, config, name)
    return config, studies.make(config, name, folder)


def test_it_is_a_table_for_people_and_for_programs_beside_the_papers(tmp_path):
    config, files = written_table(tmp_path, "table1")
    rows, runs, effects = (pd.read_csv(tmp_path / files.table(f"table1{end}")) for end in ("", "_runs", "_effects"))
    assert rows["method"].tolist() == ["topk", "topk", "relu", "relu"]
    assert rows["paper_gt_recovery"].notna().all()
    assert len(runs) == 4 * len(config.seeds)
    assert set(effects["method"]) == {"topk", "relu"}
    caption = config.products()["table1"].text_caption(config)
    markdown, latex = ((tmp_path / files.table("table1", ending)).read_text() for ending in ("md", "tex"))
    assert markdown.startswith(f"{caption}\n\n| Method")
    assert r"\label{tab:table1}" in latex
    studies.pictured(tmp_path, files, "table1")


NULLS = ["topk_frozen_decoder", "random_directions"]


def test_null_baselines_are_rows_without_anchors_and_in_no_effect(tmp_path):
    config, files = written_table(tmp_path, "table1", nulls=NULLS, protocols=["best", "paper"])
    rows, runs, effects = (read_csv(tmp_path / files.table(f"table1{end}")) for end in ("", "_runs", "_effects"))
    trained, nulls = rows[~rows["method"].isin(NULLS)], rows[-4:]
    assert list(zip(nulls["method"], nulls["anchoring"], nulls["protocol"], strict=True)) == [
        (method, "none", protocol) for method in NULLS for protocol in ("best", "paper")
    ]
    assert nulls[["paper_gt_recovery", "paper_mip", "paper_l0"]].isna().all(axis=None)
    assert nulls["fvu_mean"].notna().all()
    of_nulls = runs["method"].isin(NULLS)
    assert of_nulls.sum() == 4 * len(config.seeds)
    assert runs["paper_method"].isna().tolist() == of_nulls.tolist()
    # text about the trained methods does not change without them
    _, without = written_table(tmp_path / "without", "table1", protocols=["best", "paper"])
    alone, changes = (read_csv(tmp_path / "without" / without.table(f"table1{end}")) for end in ("", "_effects"))
    pd.testing.assert_frame_equal(trained, alone)
    pd.testing.assert_frame_equal(effects, changes)
    assert "| TopK SAE, decoder frozen " in (tmp_path / files.table("table1", "md")).read_text()


def test_a_null_baseline_is_none_of_the_papers_methods_whatever_it_is_called(tmp_path):
    _, files = written_table(tmp_path, "table1", methods=["relu"], nulls=["topk"])
    rows = read_csv(tmp_path / files.table("table1"))
    assert rows.set_index("method")["paper_l0"].notna().to_dict() == {"relu": True, "topk": False}
    judged = read_csv(tmp_path / files.table("table1_verdicts"))
    assert set(judged["method"]) == {"ReLU SAE"}


def test_null_baselines_are_swept_as_methods_are(tmp_path):
    sweep = {"parameter": "k", "values": [8, 16]}
    config, files = written_table(tmp_path, "own_more", methods=["topk"], nulls=NULLS[:1], sweep=sweep)
    rows = read_csv(tmp_path / files.table("own_more"))
    assert rows["method"].tolist() == ["topk", "topk", "topk_frozen_decoder"] * 2
    assert config.methods["topk_frozen_decoder_k_8"].frozen == "decoder"


def test_a_sweep_has_a_picture_and_rows_at_each_value(tmp_path):
    _, files = written_table(
        tmp_path, "table7", methods=["topk"], sweep={"parameter": "k", "values": [8, 16], "paper": [32, 64]}
    )
    rows = studies.pictured(tmp_path, files, "table7", width=500)
    assert rows["value"].tolist() == [8, 8, 16, 16]
    runs = pd.read_csv(tmp_path / files.table("table7_runs"))
    assert runs["method"].unique().tolist() == ["topk_k_8", "topk"]


@pytest.mark.parametrize(
    ("parameter", "values"), [("n", [100, 110]), ("k", [8, 9])], ids=["of the source", "of the method"]
)
def test_a_sweep_need_not_have_the_value_of_what_it_varies(tmp_path, parameter, values):
    _, files = written_table(tmp_path, "own_more", methods=["topk"], sweep={"parameter": parameter, "values": values})
    assert pd.read_csv(tmp_path / files.table("own_more"))["value"].unique().tolist() == values


def test_a_table_that_the_paper_lacks_takes_no_file_of_it(tmp_path):
    config, files = written_table(tmp_path, "own_more")
    rows = pd.read_csv(tmp_path / files.table("own_more"))
    assert rows[["paper_gt_recovery", "paper_mip", "paper_l0"]].isna().all(axis=None)
    assert not any(path.startswith(studies.PAPER) for path in config.products()["own_more"].inputs(files))


def test_beside_a_table_of_images_stands_what_its_source_leaves():
    table = {"source": "fashion_clip", "methods": ["topk"], "anchorings": ["none", "class_means"]}
    config = studies.alone({"tables": {"table2": table}})
    assert config.products()["table2"].beside(config.files())[-4:] == [
        "results/quick/tables/fashion_clip_classes.csv",
        "results/quick/activations/fashion_clip/skipped.csv",
        "results/quick/clip/fashion_clip/model.safetensors",
        "results/quick/clip/fashion_clip/metrics.json",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"metrics": None}, "not the metrics of a run"), ({"crc32": 1}, "is damaged, its checksum does not match")],
)
def test_metrics_that_are_incomplete_or_damaged_are_named(tmp_path, change, message):
    config = studies.alone({"tables": {"own_more": TABLE}})
    write_runs(tmp_path, config, "own_more")
    path = tmp_path / config.files().metrics(config.tables["own_more"].cells(config)[1])
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(RunsError, match=rf"seed1/metrics\.json: {message}"):
        studies.make(config, "own_more", tmp_path)
