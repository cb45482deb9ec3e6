"""A source of kind file, from the files to a run, in a real Snakemake."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from sdlcore.data.reading import ActivationStore
from tests.workflow.conftest import Checkout

# text that a shell could take for more than a name
DATA = "my data; $(touch pwned) `touch pwned` 'x' \"y\" *"
SOURCE = {
    "input": f"{DATA}/x.safetensors#layer5",
    "target": f"{DATA}/y.npy",
    "labels": f"{DATA}/labels.npy",
    "class_names": f"{DATA}/names.txt",
    "test_share": 0.25,
}
CHANGE = {
    "sources": {"file": {"mine": {**SOURCE, "run": {"n_q": 32}}}},
    "own": {"methods": ["topk_real"]},
    "methods": {"topk_real": {"k": 2}},
}
WIDER = {"sources": {"file": {"mine": {**SOURCE, "run": {"n_q": 40}}}}}
RUN = "results/tiny/runs/mine/transcoder/best/none/seed0/metrics.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Checkout:
    """A fresh checkout with the files of the source."""
    checkout = Checkout(tmp_path_factory.mktemp("file") / "sdl core")
    folder = checkout.path / DATA
    folder.mkdir()
    rng = np.random.default_rng(0)
    latents = rng.exponential(size=(1200, 20)) * (rng.random((1200, 20)) < 0.1)
    x = (latents @ rng.standard_normal((20, 8))).astype(np.float32)
    save_file({"layer5": x, "layer6": x}, folder / "x.safetensors")
    np.save(folder / "y.npy", x[:, :5].astype(np.float64))
    np.save(folder / "labels.npy", rng.integers(0, 2, 1200))
    (folder / "names.txt").write_text("a\nb\n")
    return checkout


@pytest.fixture(scope="module")
def checkout(files) -> Checkout:
    """The same checkout, after a run and a table."""
    files.snakemake(RUN, "own_mine", change=CHANGE)
    return files


@pytest.mark.slow
def test_a_run_is_requested_by_path(checkout):
    metrics = json.loads((checkout.path / RUN).read_text())["metrics"]
    assert 0 < metrics["fvu"] < 1
    with ActivationStore(checkout.path / "results/tiny/activations/mine/train.h5") as store:
        assert (store.rows, store.widths, store.class_names()) == (900, (8, 5), ["a", "b"])
    assert not list(checkout.path.glob("**/pwned"))


@pytest.mark.slow
def test_a_source_of_one_configuration_alone_gets_a_separate_table(checkout):
    tables = checkout.path / "results/tiny/tables"
    table = pd.read_csv(tables / "own_mine.csv", keep_default_na=False, na_values=[""])
    assert list(table["anchoring"]) == ["none", "half_of_classes"]
    # one of two classes is given as an anchor, so the other is the only one for scores without anchors
    judged = table[["gt_recovery_decoder_mean", "mip_decoder_unanchored_mean", "fvu_mean"]]
    assert judged.notna().all(axis=None)
    caption = (tables / "own_mine.md").read_text()
    assert "half of the classes" in caption
    assert "paper's numbers" not in caption


@pytest.mark.slow
def test_a_changed_file_or_setting_reruns_what_hangs_on_it(checkout):
    assert checkout.plan(RUN, change=CHANGE).jobs == []
    labels = checkout.path / f"{DATA}/labels.npy"
    before, stamp = labels.read_bytes(), labels.stat()
    np.save(labels, np.arange(1200) % 2)
    everything = {"given_activations", "class_means", "anchors", "train", "evaluate"}
    assert checkout.plan(RUN, change=CHANGE).rules() == everything
    labels.write_bytes(before)
    os.utime(labels, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert checkout.plan(RUN, change=CHANGE).jobs == []
    other = {"sources": {"file": {"mine": {**SOURCE, "test_share": 0.3, "run": {"n_q": 32}}}}}
    assert "given_activations" in checkout.plan(RUN, change=other).rules()
    np.save(checkout.path / DATA / "other.npy", np.arange(1200) % 2)
    path = {"sources": {"file": {"mine": {**SOURCE, "labels": f"{DATA}/other.npy", "run": {"n_q": 32}}}}}
    assert checkout.plan(RUN, change=path).rules() == everything
    assert checkout.plan(RUN, change=CHANGE | WIDER).rules() == {"train", "evaluate"}


@pytest.mark.slow
def test_results_do_not_stand_for_those_of_missing_files(checkout):
    gone = {"input": "gone.npy", "labels": "gone_labels.npy", "class_names": "gone.txt"}
    source = {**SOURCE, **{key: f"{DATA}/{name}" for key, name in gone.items()}, "run": {"n_q": 32}}
    done = checkout.snakemake(RUN, change=CHANGE | {"sources": {"file": {"mine": source}}}, check=False)
    assert done.returncode != 0
    error = re.search(r"sources\.file\.mine: no such file: (.*); correct the path, or put the file back", done.stdout)
    assert sorted(error[1].split(", ")) == sorted(f"{DATA}/{name}" for name in gone.values())
    assert "rule " not in done.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input": "gone.npy"}, f"sources.file.mine: no such file: {DATA}/gone.npy"),
        ({"input": "x.safetensors#layer7"}, "#layer7: the file has no array of that name, found layer5, layer6"),
        ({"labels": "short.npy"}, "sources.file.mine: arrays of the same samples differ in rows"),
    ],
)
def test_files_are_checked_before_any_job(files, change, sentence):
    np.save(files.path / DATA / "short.npy", np.zeros(700, dtype=int))
    source = SOURCE | {key: f"{DATA}/{name}" for key, name in change.items()}
    done = files.snakemake(RUN, "-n", change={"sources": {"file": {"mine": source}}}, check=False)
    assert done.returncode != 0
    assert sentence in done.stdout


def test_a_plan_names_the_missing_files(files):
    gone = {"sources": {"file": {"mine": {**SOURCE, "input": f"{DATA}/gone.npy"}}}}
    output = files.snakemake("plan", change=gone).stdout
    assert f"sources.file.mine: no such file: {DATA}/gone.npy" in output
    assert "The files are in" not in output


def test_requested_memory_follows_the_width_of_the_files(files):
    np.save(files.path / DATA / "wide.npy", np.zeros((1200, 4000), dtype=np.float16))
    wide = {**SOURCE, "input": f"{DATA}/wide.npy", "run": {"n_q": 40000}}
    done = files.snakemake(RUN, "-n", change=CHANGE | {"sources": {"file": {"mine": wide}}})
    needed = 4000 + 32 * 40000 * 4005 // 10**6  # weights, gradients and moments
    requested = max(int(megabytes) for megabytes in re.findall(r"mem_mb=(\d+)", done.stdout))
    assert needed <= requested < 1.2 * needed
