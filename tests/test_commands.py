import json
import re
import subprocess
import sys

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.commands import main
from sdlcore.data.reading import ActivationStore
from tests.conftest import REPOSITORY

BENCH = [
    "--n",
    "24",
    "--n-p",
    "16",
    "--sparsity",
    "0.9",
    "--max-interference",
    "0.4",
    "--train-samples",
    "2000",
    "--test-samples",
    "500",
    "--seed",
    "3",
]
TOPK = [
    "--activation",
    "topk",
    "--k",
    "3",
    "--n-q",
    "64",
    "--batch-size",
    "64",
    "--steps",
    "60",
    "--log-every",
    "20",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bench and a dictionary of it."""
    folder = tmp_path_factory.mktemp("commands")
    main(["bench", "--out", str(folder / "bench"), *BENCH])
    main(["fit", str(folder / "bench/train.h5"), "--out", str(folder / "run"), *TOPK])
    return folder


def test_a_bench_is_drawn_trained_on_and_scored(folder, capsys, tmp_path):
    main(["evaluate", str(folder / "run"), "--bench", str(folder / "bench"), "--out", str(tmp_path / "scores.json")])
    said = capsys.readouterr().out
    assert "Dictionary(sae, topk, k=3, n_p=16, n_q=64, n_r=16)" in said
    assert "gt_recovery_decoder" in said
    scores = json.loads((tmp_path / "scores.json").read_text())
    bench = sdl.Bench.draw(
        seed=3, n=24, n_p=16, sparsity=0.9, max_interference=0.4, train_samples=2000, test_samples=500
    )
    expected = sdl.evaluate(sdl.load(folder / "run"), bench, nulls=True)
    assert scores["metrics"] == pytest.approx(expected.metrics)
    assert scores["nulls"]["samples"] == pytest.approx(expected.nulls["samples"])


def test_a_command_trains_what_a_notebook_does(folder):
    found = sdl.load(folder / "run")
    settings = {"activation": "topk", "k": 3, "n_q": 64, "batch_size": 64, "steps": 60, "log_every": 20}
    again = sdl.fit(folder / "bench/train.h5", progress=False, device="cpu", **settings)
    assert np.array_equal(found.W_dec.numpy(), again.W_dec.numpy())
    assert [row["step"] for row in found.history] == [20, 40, 60]


def test_labels_give_anchors_and_judges(tmp_path, capsys, folder):
    x = np.load(_npy(folder, tmp_path))
    np.save(tmp_path / "labels.npy", np.argmax(x, axis=1) % 4)
    given = [str(tmp_path / "x.npy"), "--labels", str(tmp_path / "labels.npy")]
    main(["fit", *given, "--anchors", "class-means", "--out", str(tmp_path / "run"), *TOPK])
    assert sdl.load(tmp_path / "run").settings["anchor_cosine"] == 0.95
    main(["evaluate", str(tmp_path / "run"), "--x", *given, "--no-nulls"])
    assert "gt_recovery_decoder" in capsys.readouterr().out


def test_anchors_come_from_a_file_or_are_discovered(tmp_path, folder):
    x = _npy(folder, tmp_path)
    np.save(tmp_path / "anchors.npy", np.eye(16, dtype=np.float32)[:3])
    anchored = ["fit", x, "--anchors", str(tmp_path / "anchors.npy"), "--lambda-anchor", "1"]
    main([*anchored, "--out", str(tmp_path / "a"), *TOPK])
    assert sdl.load(tmp_path / "a").settings["lambda_anchor"] == 1
    main(["fit", x, "--anchors", "discover", "--lambda-anchor", "1", "--out", str(tmp_path / "b"), *TOPK])
    assert sdl.load(tmp_path / "b").provenance["inputs"]["anchors"]


def test_a_dictionary_is_solved_for(tmp_path, folder):
    main(["solve", str(folder / "bench/train.h5"), "--n-atoms", "48", "--out", str(tmp_path / "run")])
    assert sdl.load(tmp_path / "run").settings["solver"] == "acs"


@pytest.mark.parametrize("pair", ["transcoder", "crosscoder"])
def test_two_files_make_a_transcoder_or_a_crosscoder(pair, tmp_path, folder):
    x = _npy(folder, tmp_path)
    out = str(tmp_path / "run")
    main(["fit", x, "--target", x, *(["--pair", pair] if pair == "crosscoder" else []), "--out", out, *TOPK])
    assert sdl.load(out).pair == pair
    main(["evaluate", out, "--x", x, "--target", x, "--no-nulls"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.npy", "--out", "run"], "No such file or directory: 'nowhere.npy'"),
        (["fit", "x.npy", "--out", "run", "--activation", "topk"], "sdlcore: activation topk needs k"),
        (["fit", "x.npy", "--out", "run", "--activation", "topkk"], "topkk"),
        (["fit", "x.npy"], "--out"),
        (["evaluate", "run", "--bench", "lrb-x"], "run: no such file|run.*no such file"),
        (["fitt"], "fitt"),
        (["fit", "x.npy", "--out", "a", "--anchors", "class-means"], "--anchors class-means needs --labels"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code
    said = capsys.readouterr().err.splitlines()
    said = [line for line in said if "penalty leaves latents dense" not in line]
    assert len(said) == 1

    assert re.search(message, said[0])


@pytest.mark.parametrize("command", ["bench", "fit", "solve", "evaluate"])
def test_help_explains_each_option(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "--out" in said
    assert "usage: sdlcore" in said


def test_the_command_is_installed_with_the_package():
    code = "from importlib.metadata import entry_points; e, = entry_points(group='console_scripts', name='sdlcore');"
    done = subprocess.run([sys.executable, "-c", code + "print(e.value)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "sdlcore.commands:main"
    assert 'sdlcore = "sdlcore.commands:main"' in (REPOSITORY / "pyproject.toml").read_text()


def _npy(folder, where):

    with ActivationStore(folder / "bench/train.h5") as store:
        np.save(where / "x.npy", store.read("input"))
    return str(where / "x.npy")
