import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import contextmanager

import h5py
import pytest
from safetensors import safe_open

from sdlcore.activations.store import ActivationStore
from sdlcore.cells import all_cells, bench_figure_cells, run_tables, table_cells
from sdlcore.config import load_yaml, validate
from sdlcore.files import sha256_of
from sdlcore.model import load_model
from sdlcore.variants import merge
from tests.conftest import REPOSITORY

BASE = load_yaml(REPOSITORY / "config/config.yaml")
SCHEMA = load_yaml(REPOSITORY / "config/schema/config.schema.yaml")
RUN = "results/tiny/runs/lrb/topk/best/none/seed0"


@contextmanager
def edited(path, text):
    """Append text to a file, and put the file back afterwards."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_run_makes_every_table_figure_and_the_report(finished):
    results = finished.path / "results/tiny"
    expected = [f"tables/table1.{suffix}" for suffix in ("csv", "md", "tex")]
    expected += [f"tables/table3.{suffix}" for suffix in ("csv", "md", "tex")]
    expected += [f"figures/figure{number}.{suffix}" for number in (6, 8) for suffix in ("png", "pdf")]
    expected += [f"tables/{name}.{suffix}" for name in ("verdicts", "claims") for suffix in ("csv", "md")]
    for name in [*expected, "report.html"]:
        assert (results / name).stat().st_size > 100, name
    with (results / "tables/table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["anchoring"]) for row in rows] == [
        *(("topk", "none"), ("topk", "ground_truth")),
        *(("crosscoder", "none"), ("crosscoder", "ground_truth")),
    ]


def test_it_fits_the_size_that_tests_and_clusters_count_on(finished):
    assert len(finished.plan("--forceall").jobs) <= 25


def test_every_file_says_where_it_came_from(finished):
    results = finished.path / "results/tiny"
    with ActivationStore(results / "activations/lrb/seed0/train.h5") as store:
        assert store.provenance["seed"] == 0
        assert store.provenance["bench"]["sparsity"] == 0.8
    config = json.loads((finished.path / RUN / "config.json").read_text())
    assert config["settings"]["k"] == 6
    assert config["versions"]["torch"]
    assert json.loads((finished.path / RUN / "metrics.json").read_text())["run"]["method"] == "topk"
    load_model(finished.path / RUN / "model.safetensors")
    metrics = json.loads((finished.path / RUN / "metrics.json").read_text())
    assert metrics["provenance"]["inputs"]["model"] == sha256_of(finished.path / RUN / "model.safetensors")
    for path in (
        results / "bench/lrb/seed0/feature_matrix.safetensors",
        results / "anchors/lrb/ground_truth/seed0.safetensors",
    ):
        with safe_open(path, "np") as file:
            facts = json.loads(file.metadata()["provenance"])
        assert facts["seed"] == 0
        assert facts["code"]


def test_afterwards_there_is_nothing_to_do(finished):
    plan = finished.plan()
    assert plan.jobs == []
    assert "Nothing to be done" in plan.text


def test_touching_every_file_of_the_checkout_reruns_nothing(finished):
    for part in ("Snakefile", "workflow", "config", "src", "resources", "environment.yml"):
        for path in [finished.path / part, *(finished.path / part).rglob("*")]:
            if path.is_file():
                os.utime(path)
    assert finished.plan().jobs == []


def test_a_methods_hyperparameter_reruns_its_runs_and_what_depends_on_them(finished):
    plan = finished.plan(change={"methods": {"topk": {"lr": 0.001}}})
    assert plan.rules() == {"train", "evaluate", "tables", "features", "verdicts", "report"}
    for rule in ("train", "evaluate"):
        assert len(plan.of(rule)) == 2
        assert all("method=topk" in wildcards for wildcards in plan.of(rule))


def test_the_number_of_anchors_reruns_what_knows_of_anchors(finished):
    plan = finished.plan(change={"anchorings": {"ground_truth": {"n_anchors": 4}}})
    assert plan.rules() >= {"anchors", "train", "evaluate", "tables"}
    assert all("anchoring=ground_truth" in wildcards for wildcards in plan.of("train"))
    assert not plan.rules() & {"feature_matrix", "samples"}


def test_training_settings_do_not_redraw_the_bench(finished):
    plan = finished.plan(change={"sources": {"bench": {"lrb": {"run": {"n_q": 50}}}}})
    assert "train" in plan.rules()
    assert not plan.rules() & {"feature_matrix", "samples", "anchors"}


@pytest.mark.parametrize(
    ("module", "first", "untouched"),
    [
        ("bench/feature_matrix.py", "feature_matrix", set()),
        ("bench/samples.py", "samples", {"feature_matrix", "anchors"}),
        ("losses.py", "train", {"feature_matrix", "samples", "anchors"}),
        ("model/sigma.py", "train", {"feature_matrix", "samples", "anchors"}),
        ("evaluation/recovery.py", "evaluate", {"feature_matrix", "samples", "anchors", "train"}),
        ("rendering/tables.py", "tables", {"feature_matrix", "samples", "anchors", "train", "evaluate"}),
        ("verdicts/claims.py", "verdicts", {"train", "evaluate", "tables", "figure6"}),
    ],
)
def test_editing_a_module_reruns_the_stages_that_import_it(finished, module, first, untouched):
    with edited(finished.path / "src/sdlcore" / module, "\n# an edit\n"):
        plan = finished.plan()
    assert first in plan.rules()
    assert "report" in plan.rules()
    assert not plan.rules() & untouched


def test_editing_a_script_reruns_its_stage(finished):
    with edited(finished.path / "workflow/scripts/figure8.py", "\n# an edit\n"):
        assert finished.plan().rules() == {"figure8", "report"}


def test_a_lost_metrics_file_is_made_again_with_what_depends_on_it(finished):
    metrics = finished.path / RUN / "metrics.json"
    before = metrics.read_text()
    metrics.unlink()
    plan = finished.plan()
    assert sorted(rule for rule, _ in plan.jobs) == ["evaluate", "report", "tables", "verdicts"]
    assert sorted(rule for rule, _ in finished.plan("table1").jobs) == ["evaluate", "table1", "tables"]
    finished.snakemake()
    assert metrics.read_text() == before
    assert finished.plan().jobs == []


@pytest.mark.parametrize("lost", ["tables/table1.tex", "figures/figure6.pdf", "tables/figure6.csv", "tables/claims.md"])
def test_any_lost_result_is_missed(finished, lost):
    path = finished.path / "results/tiny" / lost
    before, stamp = path.read_bytes(), path.stat()
    path.unlink()
    plan = finished.plan()
    path.write_bytes(before)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert plan.rules() & {"tables", "figure6", "verdicts"}
    assert not plan.rules() & {"train", "evaluate"}


def test_a_run_that_the_configuration_does_not_know_is_refused_in_a_sentence(finished):
    done = finished.snakemake("results/tiny/runs/lrb/nosuch/best/none/seed0/metrics.json", check=False)
    assert done.returncode != 0
    assert "MissingRuleException" in done.stdout
    assert "Traceback" not in done.stdout


def test_solvers_leave_runs_and_a_table_like_any_other(finished):
    asked = {"solvers": {"runs": {"lrb": {"methods": ["acs", "topk"]}}}}
    assert finished.plan("solvers", change=asked).rules() == {"solve", "evaluate", "solvers_table", "solvers"}
    finished.snakemake("solvers", change=asked)
    assert finished.plan("solvers", change=asked).jobs == []
    with (finished.path / "results/tiny/tables/solvers.csv").open() as file:
        acs, topk = csv.DictReader(file)
    columns = "solver,n,activation_probability,seed,seconds,gt_recovery_decoder,gt_recovery_encoder,features_found,fvu"
    assert list(acs)[:9] == columns.split(",")
    assert (acs["solver"], topk["solver"], acs["n"], acs["activation_probability"]) == ("acs", "topk", "12", "0.2")
    assert 0 < int(acs["features_found"]) <= 32
    run = finished.path / "results/tiny/runs/lrb/acs/best/none/seed0"
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["solver"] == "acs"
    model = load_model(run / "model.safetensors")
    assert model.config.n_q == int(acs["features_found"])
    assert "solvers" in (finished.path / "results/tiny/tables/solvers.md").read_text().lower()
    plan = finished.plan("solvers", change=asked | {"methods": {"acs": {"ridge": 0.01}}})
    assert plan.rules() == {"solve", "evaluate", "solvers_table", "solvers"}
    # a training starts from what was solved for
    run = "results/tiny/runs/lrb/topk_warm/best/none/seed0"
    warm = asked | {"methods": {"topk_warm": {"like": "topk", "warm_start": "acs"}}}
    assert finished.plan(f"{run}/metrics.json", change=warm).rules() == {"train", "evaluate"}
    finished.snakemake(f"{run}/metrics.json", change=warm)
    assert json.loads((finished.path / run / "config.json").read_text())["inputs"]["start"]
    # trained runs do not hang on solvers
    with edited(finished.path / "src/sdlcore/solvers/acs.py", "\n# an edit\n"):
        assert finished.plan().jobs == []


def test_harder_benches_make_a_table_and_a_picture_of_runs_like_any_other(finished):
    asked = {
        "harder": {"runs": {"lrb": {"methods": ["topk"]}}},
        "methods": {
            "acs_pursuit": {"like": "acs", "encoder": "pursuit"},
            "topk_white": {"like": "topk", "whiten": True},
        },
        "encoders": {"runs": {"lrb": {"methods": ["topk", "topk_white", "acs_pursuit"]}}},
        "frontier": {"source": "lrb", "methods": ["topk"], "panels": {"noise": {"values": [0.0, 0.5]}}},
    }
    finished.snakemake("harder", "encoders", "frontier", change=asked)
    assert finished.plan("harder", "encoders", "frontier", change=asked).jobs == []
    with (finished.path / "results/tiny/tables/harder.csv").open() as file:
        (plain,) = csv.DictReader(file)
    assert float(plain["splitting"]) >= 1
    assert plain["absorption"] == ""
    with (finished.path / "results/tiny/tables/encoders.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["topk", "topk_white", "acs_pursuit"]
    assert rows["acs_pursuit"]["mip_encoder"] == rows["acs_pursuit"]["mip_decoder"]
    with (finished.path / "results/tiny/tables/frontier.csv").open() as file:
        points = [(row["parameter"], row["value"], row["source"]) for row in csv.DictReader(file)]
    assert points == [("noise", "0.0", "lrb"), ("noise", "0.5", "lrb_noise_0_5")]
    assert (finished.path / "results/tiny/figures/frontier.png").stat().st_size > 10_000
    # what is drawn otherwise is drawn anew, and nothing else
    changed = asked | {"sources": {"bench": {"lrb_noise_0_5": {"like": "lrb", "noise": 0.5, "correlation": 0.3}}}}
    plan = finished.plan("harder", "frontier", change=changed)
    assert plan.rules() == {"samples", "train", "evaluate", "frontier_figure", "frontier"}


def test_a_moved_checkout_makes_nothing_anew(finished, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished.path, moved, symlinks=True)
    assert finished.plan(where=moved).jobs == []


def test_the_default_plans_the_real_model_from_its_wheels(finished):
    plan = finished.plan(base="config")
    counts = {rule: len(plan.of(rule)) for rule in ("fetch", "language_model", "activations", "train")}
    sweeps = 2 * 2 * (1 + 2 + 2 + 1)  # new values x anchorings x methods
    assert counts == {
        "fetch": 2,
        "language_model": 1,
        "activations": 1,
        "train": 7 * 2 * 3 * 2 + (1 + 2) * 3 + 2 * 3 + 3 * 2 * 3 + sweeps + 3,  # topk_warm
    }


@pytest.mark.parametrize("name", ["config", "paper"])
def test_no_run_is_trained_twice_for_two_tables(finished, name):
    five = {"seeds": [0, 1, 2, 3, 4], "tables": {table: {"seeds": None} for table in ("table4", "table5", "table6")}}
    plan = finished.plan(base=name, change=five)
    config = validate(merge(merge(BASE, load_yaml(REPOSITORY / f"config/{name}.yaml")), five), SCHEMA)
    asked = [cell for table in run_tables(config) for cell in table_cells(config, table)]
    distinct = {*all_cells(config), *bench_figure_cells(config)}
    runs = [*plan.of("train"), *plan.of("solve")]
    assert len(runs) == len(set(runs)) == len(distinct)
    # what tables share is not nothing
    assert len(asked) > len(set(asked))


def test_a_sweep_trains_what_is_new_in_it_and_draws_its_figure(finished, tmp_path):
    """The point that is Table 1's has its runs already; the other one is a bench of its own."""
    where = tmp_path / "sweeping"
    shutil.copytree(finished.path, where, symlinks=True)
    sweep = {"parameter": "n", "values": [12, 14], "paper": [1000, 1200]}
    table = {"source": "lrb", "methods": ["topk"], "anchorings": ["none"], "seeds": [0], "sweep": sweep}
    change = {"tables": {"table4": table}}
    plan = finished.plan("table4", change=change, where=where)
    (trained,) = plan.of("train")
    assert "source=lrb_n_14" in trained
    finished.snakemake("table4", change=change, where=where)
    results = where / "results/tiny"
    with (results / "tables/table4_runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert [(row["source"], row["parameter"], row["value"], row["paper_value"]) for row in runs] == [
        ("lrb", "n", "12", "1000"),
        ("lrb_n_14", "n", "14", "1200"),
    ]
    for row in runs:
        folder = results / "runs" / row["source"] / row["method"] / row["protocol"] / row["anchoring"] / "seed0"
        metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
        assert float(row["mip_decoder"]) == metrics["mip_decoder"]
    with safe_open(results / "bench/lrb_n_14/seed0/feature_matrix.safetensors", "np") as file:
        assert file.get_tensor("W_p").shape == (10, 14)
    for path in ("tables/table4.md", "figures/table4.png", "figures/table4.pdf"):
        assert (results / path).stat().st_size > 1000
    (results / "figures/table4.pdf").unlink()
    assert finished.plan("table4", change=change, where=where).rules() == {"sweep", "table4"}


def test_a_clip_source_is_planned_with_the_data_and_the_model_that_it_needs(finished):
    stores = [f"results/tiny/activations/fashion_clip/{part}.h5" for part in ("train", "test")]
    plan = finished.plan(*stores)
    assert plan.rules() == {"fashion_mnist", "train_clip", "clip_activations"}
    assert len(plan.jobs) == 3


def test_the_papers_images_are_planned_before_they_are_there(finished):
    stores = [f"results/paper/activations/imagenet_clip/{part}.h5" for part in ("train", "test")]
    plan = finished.plan(*stores, base="paper")
    assert plan.rules() == {"clip_shard", "unite_shards"}
    assert len(plan.of("clip_shard")) == 16 + 1
    assert re.search(r"activations of imagenet_clip: 1\.968 GB; .* 8 GB of memory a job; about 17\.8 hours", plan.text)
    part = "results/paper/activations/imagenet_clip/train/part-00000.h5"
    done = finished.snakemake(part, base="paper", check=False)
    assert done.returncode != 0
    assert "data/imagenet/train: no such folder; images (of a source under sources.clip) names it" in done.stdout


def test_commands_that_the_readme_shows_are_planned(finished):
    (finished.path / "mine.yaml").write_text("name: mine\n")
    text = (REPOSITORY / "README.md").read_text()
    commands = re.findall(r"^snakemake .*?(?=\s+#|$)", text, flags=re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *command.split(), "-n"], cwd=finished.path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_one_stage_runs_by_a_short_name_and_one_file_by_its_path(finished):
    assert finished.plan("table1", "--forceall").rules() >= {"tables", "train"}
    assert "figure8" not in finished.plan("table1", "--forceall").rules()
    by_path = finished.plan("results/tiny/figures/figure8.png", "--forceall")
    assert by_path.rules() == {"feature_matrix", "samples", "figure8"}
    one_run = finished.plan(f"{RUN}/model.safetensors", "--forceall")
    assert len(one_run.of("train")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds: "),
        ({"sede": [0]}, "sede: unknown key; expected one of"),
        ({"methods": {"topk": {"lr": "fast"}}}, "methods.topk.lr: expected number"),
        ({"name": "../elsewhere"}, "name: expected lower-case letters"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_runs(finished, change, message):
    done = finished.snakemake("--forceall", change=change, check=False)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert "rule " not in done.stdout


def test_a_damaged_store_stops_the_run_with_its_name(finished):
    store = finished.path / "results/tiny/activations/lrb/seed0/train.h5"
    before = store.read_bytes()
    stamp = store.stat()
    try:
        store.write_bytes(before[: len(before) // 3])
        done = finished.snakemake(f"{RUN}/model.safetensors", "--forcerun", "train", check=False)
        assert done.returncode != 0
        assert "train.h5: does not end with its checksums" in done.stdout
    finally:
        store.write_bytes(before)
        os.utime(store, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    finished.snakemake()
    assert finished.plan().jobs == []


def test_equal_configurations_make_equal_bits(finished):
    """The same run, asked for again, is the same model."""
    model = finished.path / RUN / "model.safetensors"
    before = model.read_bytes()
    finished.snakemake(f"{RUN}/model.safetensors", "--forcerun", "train")
    assert model.read_bytes() == before
    finished.snakemake()


def test_the_papers_configuration_plans_table_1(finished):
    plan = finished.plan("table1", base="paper")
    assert len(plan.of("train")) == len(plan.of("evaluate")) == 7 * 2 * 2 * 3
    assert len(plan.of("samples")) == 3


def test_all_220_numbers_have_a_verdict_whatever_is_run(finished):
    with (finished.path / "results/tiny/tables/verdicts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 220
    assert {row["verdict"] for row in rows} == {"not run at this scale"}
    shown = {(row["table"], row["method"]) for row in rows if row["ours"]}
    assert shown == {("table1", "TopK SAE"), ("table1", "Crosscoder")}


def test_verdicts_are_planned_by_their_name(finished):
    change = {"tables": {"table1": None}}
    assert finished.plan("verdicts", "--forceall").rules() >= {"verdicts", "tables", "figure6"}
    assert "tables" not in finished.plan("verdicts", "--forceall", change=change).rules()
    nothing = finished.plan(change=change | {"figures": {"figure6": None}})
    assert "verdicts" not in nothing.rules()
    other = finished.plan(change={"figures": {"figure8": None}})
    assert "verdicts" not in other.rules()


def test_stores_hold_what_the_bench_is_made_of(finished):
    with h5py.File(finished.path / "results/tiny/activations/lrb/seed0/test.h5") as file:
        assert {"input", "target", "features"} <= set(file)
        assert file["input"].shape == (256, 10)


def test_the_makefile_explains_itself():
    done = subprocess.run(["make", "help"], cwd=REPOSITORY, text=True, capture_output=True, check=True)
    assert {"run", "test", "paper", "check"} <= {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("script", sorted((REPOSITORY / "workflow/scripts").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_say_what_they_take(script, capsys):
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script))["main"](["--help"])
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_papers_language_model_and_text_are_planned_from_the_hub(finished):
    plan = finished.plan("figure6", base="paper")
    assert {rule: len(plan.of(rule)) for rule in ("stream_recipe", "train")} == {"stream_recipe": 1, "train": 6}
    assert re.search(r"activations of llama: .* 32 GB of memory a job; each training streams 122,880,000", plan.text)
    stored = {"sources": {"llama": {"llama": {"stream": False, "shards": 4}}}}
    plan = finished.plan("results/paper/activations/llama/train.h5", base="paper", change=stored)
    assert (len(plan.of("language_shard")), plan.rules()) == (4, {"language_shard", "unite_shards"})


def test_what_a_dictionary_costs_its_language_model_is_planned_by_path(finished):
    run = "results/quick/runs/smollm2/topk_real/best/none/seed0"
    plan = finished.plan(f"{run}/language.json", base="config")
    assert plan.rules() == {"fetch", "language_model", "activations", "train", "language"}
    bench = finished.snakemake(RUN.replace("seed0", "seed0/language.json"), "-n", check=False)
    assert "MissingRuleException" in bench.stdout


def test_figures_of_small_benches_are_trained_and_drawn(finished):
    """Figures 4 and 5, which the tiny configuration leaves out, with runs as short as its own."""
    short = {"steps": 20, "batch_size": 64}
    change = {
        "name": "drawn",
        "sources": {"bench": {"lrb_hierarchy": {"train_samples": 500, "test_samples": 400, "run": short}}},
        "methods": {"topk_3d": short},
        "figures": {
            "figure4": {"source": "lrb_3d", "method": "topk_3d"},
            "figure5": {"source": "lrb_hierarchy", "methods": ["topk_few"]},
        },
    }
    assert finished.plan("figure4", change=change).rules() == {"feature_matrix", "samples", "train", "figure4"}
    assert finished.plan("figure5", change=change).rules() == {"feature_matrix", "samples", "train", "figure5"}
    finished.snakemake("figure4", "figure5", change=change)
    results = finished.path / "results/drawn"
    for name in ("figure4", "figure5"):
        for file in (f"figures/{name}.png", f"figures/{name}.pdf", f"tables/{name}.csv"):
            assert (results / file).stat().st_size > 100, file
    with ActivationStore(results / "activations/lrb_hierarchy/seed0/test.h5") as store:
        active = store.features().toarray() > 0
        assert store.provenance["bench"]["hierarchy"] == {"parents": 8, "children": 4}
    families = active[:, 8:40].reshape(-1, 8, 4)
    assert (active[:, :8] == families.any(axis=2)).all()
    assert active[:, :8].any()
    # what they show is no reason to draw the bench anew, another hierarchy is
    change["figures"]["figure5"]["methods"] = ["topk_nested"]
    assert finished.plan("figure5", change=change).rules() == {"train", "figure5"}
    change["sources"]["bench"]["lrb_hierarchy"]["hierarchy"] = {"parents": 4}
    assert finished.plan("figure5", change=change).rules() == {"samples", "train", "figure5"}


def test_models_and_texts_of_ones_own_are_planned(finished):
    (finished.path / "texts").mkdir(exist_ok=True)
    (finished.path / "mine.gguf").write_bytes(b"GGUF")
    (finished.path / "texts/a.txt").write_text("a text")
    source = {"model": "mine.gguf", "text": "texts", "site": "mlp", "run": {"n_q": 64}}
    change = {"sources": {"llama": {"mine": source}}}
    stores = "results/tiny/activations/mine/test.h5"
    assert finished.plan(stores, change=change).rules() == {"language_model", "activations"}
    source["model"] = "somebody/llama"
    assert finished.plan(stores, change=change).rules() == {"activations"}


def test_published_metrics_are_restored_where_the_configuration_says_the_same(finished):
    runs, kept = finished.path / "results/tiny/runs", finished.path / "results/tiny/kept"
    table = "results/tiny/tables/table1.csv"
    before = (finished.path / RUN / "metrics.json").read_bytes()
    finished.snakemake("publish")
    published = list((finished.path / "docs/results/tiny/runs").iterdir())
    assert len(published) == 6  # those of the configuration; other tests left runs of others
    runs.rename(kept)
    try:
        finished.snakemake("restore", change={"methods": {"topk": {"k": 5}}})
        assert not (finished.path / RUN).exists(), "another k is another run"
        assert (finished.path / RUN.replace("topk", "crosscoder") / "metrics.json").exists()
        finished.snakemake("restore")
        assert (finished.path / RUN / "metrics.json").read_bytes() == before
        assert finished.plan(table).rules() <= {"tables"}
    finally:
        shutil.rmtree(runs, ignore_errors=True)
        kept.rename(runs)
        shutil.rmtree(finished.path / "docs")


def test_other_libraries_that_are_not_installed_are_missed_in_a_sentence(finished):
    asked = {"methods": {"theirs": {"peer": "saelens", "activation": "topk", "k": 6}}}
    run = "results/tiny/runs/lrb/theirs/best/none/seed0"
    assert finished.plan(f"{run}/metrics.json", change=asked).rules() == {"train_peer", "evaluate"}
    done = finished.snakemake(f"{run}/metrics.json", change=asked, check=False)
    assert done.returncode != 0
    missing = "benchmarks/.venv/bin/python is missing, the interpreter that has other libraries: make peers, or set"
    assert missing in done.stdout
    assert not list((finished.path / run).glob("*"))
