"""Messages for targets that nothing makes, with constructed configurations."""

import yaml

from sdlstudy.configuration.loading import load_yaml
from sdlstudy.configuration.targets import configurations_with, unknown_target
from tests.conftest import REPOSITORY

FILES = ["results/mine/tables/table1.csv", "results/mine/runs/lrb/topk/model.safetensors", "results/mine/report.html"]


def message(target, folder=REPOSITORY / "no such folder"):
    return unknown_target(target, "mine", ["table1", "all", "plan"], FILES, folder)


def test_names_and_parts_of_paths_that_are_close_are_suggested():
    assert message("table2").endswith("did you mean table1?")
    assert message("something").endswith("see snakemake --list")
    assert "nothing makes topkk in results/mine/runs/lrb; did you mean topk?" in message(
        "results/mine/runs/lrb/topkk/a"
    )
    alone = "the configuration mine writes only results/mine; choose the other by --configfile"
    assert alone in message("results/other/tables/table1.csv")
    assert "nothing makes result in the working directory; did you mean results?" in message("result/mine/report.html")
    assert message("results/mine/tables").endswith("a folder, expected a file in it")


def test_the_product_of_a_plan_is_suggested_by_name(tmp_path):
    rules = ["table1", "plan_table1", "theory"]
    assert unknown_target("plan_tabel1", "mine", rules, FILES, tmp_path).endswith("did you mean table1?")
    assert "theory: has no plan of its own" in unknown_target("plan_theory", "mine", rules, FILES, tmp_path)


def test_configurations_of_the_repository_are_suggested():
    config = REPOSITORY / "config"
    whole = f"{config}/config.yaml and {config}/paper.yaml do. Try: snakemake table5 --configfile {config}/config.yaml"
    assert message("table5", config).endswith(whole)
    assert message("law", config).endswith(f"the first lines of {config}/studies/law.yaml say how to")


def test_a_table_of_the_default_configuration_is_suggested_to_another():
    message_of_figure6 = unknown_target("figrue6", "mine", ["own_mine"], FILES, REPOSITORY / "config")
    assert (
        message_of_figure6 == "figrue6: no table, figure, rule or file of the configuration mine; did you mean figure6?"
    )


def test_configurations_that_have_a_table_are_named_whole_ones_first(tmp_path):
    default = load_yaml(REPOSITORY / "config/config.yaml")
    default["tables"] = {"table1": default["tables"]["table1"]}
    table = {"source": "lrb", "methods": ["topk"]}
    for name, content in {
        "config": default,
        "inherits": {"name": "inherits"},
        "has": {"name": "has", "tables": {"table4": table}},
        "part": {"tables": {"table4": table, "table7": table}},
        "broken": {"name": "broken", "tables": {"table4": {"source": "no such"}}},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "no.yaml").write_text("- no configuration")
    assert configurations_with("table1", tmp_path) == {tmp_path / "config.yaml": True}
    assert configurations_with("table4", tmp_path) == {tmp_path / "has.yaml": True, tmp_path / "part.yaml": False}
    assert f"Try: snakemake table4 --configfile {tmp_path / 'has.yaml'}" in message("table4", tmp_path)
    assert message("table7", tmp_path).endswith(f"the first lines of {tmp_path / 'part.yaml'} say how to")
