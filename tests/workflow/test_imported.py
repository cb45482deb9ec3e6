"""An imported dictionary, from its files to a row of Table 1, in a real Snakemake."""

import json

import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from sdlcore.interop.export import export
from sdlcore.model.saving import load_model
from sdlcore.storage.files import sha256_of
from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.slow
# text that a shell could take for more than a name
THEIRS = "their dictionary; $(touch pwned)"
RUN = "results/tiny/runs/lrb/topk/best/none/seed0"
MINE = "results/tiny/runs/lrb/mine/best/none/seed0"


def change(**mine):
    method = {"model": THEIRS, **mine}
    return {"methods": {"mine": method}, "tables": {"table1": {"methods": ["topk", "mine"], "anchorings": ["none"]}}}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("imported") / "sdl core")
    checkout.snakemake(f"{RUN}/model.safetensors")
    export(load_model(checkout.path / RUN / "model.safetensors"), "saelens", checkout.path / THEIRS)
    checkout.snakemake("table1", change=change())
    return checkout


def test_an_imported_dictionary_is_a_row_like_that_of_the_one_that_was_exported(checkout):
    table = pd.read_csv(checkout.path / "results/tiny/tables/table1.csv").set_index("method")
    for metric in ("gt_recovery_decoder", "gt_recovery_encoder", "mip_decoder", "fvu", "l0"):
        assert table.loc["mine", f"{metric}_mean"] == pytest.approx(table.loc["topk", f"{metric}_mean"]), metric
    assert not list(checkout.path.glob("**/pwned"))


def test_the_run_says_which_files_it_is(checkout):
    run_config = json.loads((checkout.path / MINE / "config.json").read_text())
    files = {name: sha256_of(checkout.path / THEIRS / name) for name in ("cfg.json", "sae_weights.safetensors")}
    assert run_config["identity"]["inputs"].items() >= files.items()
    assert run_config["imported"].items() >= {"from": THEIRS, "format": "saelens", "files": sorted(files)}.items()
    assert run_config["imported"]["says"]["architecture"] == "topk"
    (row,) = (checkout.path / MINE / "history.csv").read_text().splitlines()[1:]
    assert row.startswith("0,0,")


def test_another_file_is_imported_anew_and_nothing_else(checkout):
    assert checkout.plan("table1", change=change()).jobs == []
    weights = checkout.path / THEIRS / "sae_weights.safetensors"
    save_file({name: 2 * value for name, value in load_file(weights).items()}, weights)
    runs = [job for job in checkout.plan("table1", change=change()).jobs if "method=" in job[1]]
    assert {rule for rule, _ in runs} == {"train", "evaluate"}
    assert all("method=mine" in wildcards for _, wildcards in runs)
    assert checkout.plan(f"{RUN}/metrics.json", change=change()).jobs == []
