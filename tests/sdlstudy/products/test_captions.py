"""Facts in captions of tables, derived from a configuration."""

from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.products.captions import table_caption
from sdlstudy.products.run_table import RunTable
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY
from tests.sdlstudy.results.test_tables import TRIAL

DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")


def caption(tree, name):
    config = validate(tree)
    return table_caption(config.products()[name], config)


def test_it_takes_settings_from_the_configuration():
    text = caption(TRIAL, "table1")
    assert "3 seeds (0, 1, 2)" in text
    assert "configuration trial, source lrb" in text
    assert "n = 1000, n_p = 768, n_q = 16000" in text
    assert "n = 20, n_p = 10, S = 0.9, M = 0.1, N = 50, n_q = 40, steps = 7" in text
    assert "lambda_anchor = 0.1, n_anchors = 3" in text
    assert "one seed" in caption(TRIAL | {"seeds": [4]}, "table1")
    assert "Linear Representation Bench" in text


def test_it_says_why_the_oracle_reconstructs_badly_and_explains_no_column_that_a_table_lacks():
    text = caption(TRIAL, "table1")
    assert "respond to features that interfere, so its FVU" in text
    assert "Inner products: recovery by inner products" in text
    file = {"mine": {"input": "x.npy", "labels": "labels.npy"}}
    config = validate(merge(DEFAULT, {"sources": {"file": file}}))
    table = RunTable(source="mine", methods=["topk_real"], anchorings=["none"], protocols=["best"])
    assert "nner products" not in table_caption(table.named("own_mine"), config)


def test_of_images_it_says_what_means_of_classes_are():
    clip = {"pictures": {"images": "folder", "model": "ViT-B-32-quickgelu", "pretrained": "openai", "test_samples": 9}}
    tables = {"table2": {**TRIAL["tables"]["table1"], "source": "pictures"}}
    text = caption(TRIAL | {"sources": {"clip": clip}, "tables": tables}, "table2")
    assert "class means (eq. 23), which are not true features" in text
    assert "Top classes: number of classes among the 100" in text


def test_it_says_what_is_swept_and_at_which_scale():
    text = caption(DEFAULT, "table4")
    assert "Bench over n = 102, 128, 154, beside the paper's 800, 1000, 1200; protocol best; one seed" in text
    assert "is at n = 102/128/154, n_p = 96" in text
    papers = merge(DEFAULT, load_yaml(REPOSITORY / "config/paper.yaml"))
    text = caption(papers, "table7")
    assert "over k = 32, 64, 128; protocol paper; one seed" in text
    assert "n_q = 16000, k = 32/64/128, steps" in text
    assert "where the table's S is 1 - S in Assumption 2.3" in caption(papers, "table6")


def test_it_says_what_null_baselines_are_and_gives_no_setting_of_theirs():
    text = caption(DEFAULT, "table1")
    nulls = "TopK SAE, decoder frozen; TopK SAE, encoder frozen; Random directions; Random samples"
    assert f"Null baselines ({nulls}) run without anchors, under the protocol best only. They are" in text
    assert "steps = 250, batch" in text
    assert "Null baselines" not in caption(DEFAULT, "table4")


def test_it_says_which_dictionaries_are_imported():
    table = {"methods": ["topk", "theirs"], "nulls": [], "anchorings": ["none"]}
    change = {"methods": {"theirs": {"model": "exported/saelens"}}, "tables": {"table1": table}}
    assert "Imported dictionaries: theirs (exported/saelens); config.json" in caption(merge(DEFAULT, change), "table1")
    assert "Imported dictionaries" not in caption(DEFAULT, "table1")


def test_it_omits_settings_that_solvers_do_not_have():
    def beside(*methods):
        table = {**DEFAULT["tables"]["table1"], "methods": [*methods], "nulls": [], "anchorings": ["none"]}
        return caption(DEFAULT | {"tables": {"table1": table}}, "table1")

    assert "n_q = 2048, steps = 250" in beside("topk", "acs")
    assert "steps" not in beside("acs")
