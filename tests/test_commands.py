import json
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import sdlcore as sdl
from sdlcore.commands.main import COMMANDS, main
from sdlcore.config import ModelConfig
from sdlcore.inside.features import SHOWN
from sdlcore.inside.score import BRIEF
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.extraction.tiny_llama import SIZES, documents, save_tiny_llama
from tests.stores import write_store

TOPK = shlex.split("--activation topk --k 3 --n-q 64 --batch-size 64 --steps 60 --log-every 20 --device cpu")


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=3, n=24, n_p=16, sparsity=0.9, max_interference=0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, bench):
    """Samples of a bench, and a dictionary trained on them."""
    folder = tmp_path_factory.mktemp("commands")
    x = bench.sample(2500)
    write_store(folder / "train.h5", x[:2000])
    np.save(folder / "x.npy", x[:2000])
    np.save(folder / "test.npy", x[2000:])
    main(["fit", str(folder / "train.h5"), "--out", str(folder / "run"), *TOPK])
    return folder


def refusal(capsys, command, *more):
    """Return what a command that fails prints."""
    with pytest.raises(SystemExit):
        main([*shlex.split(command), *more])
    return capsys.readouterr().err


def test_a_dictionary_is_scored_on_a_bench(folder, bench, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sdlcore.standard_bench", {"lrb-s": bench}.__getitem__)
    main(["evaluate", str(folder / "run"), "--bench", "lrb-s", "--out", str(tmp_path / "scores.json")])
    output = capsys.readouterr().out
    assert "Dictionary(sae, topk, k=3, n_p=16, n_q=64, n_r=16)" in output
    assert "gt_recovery_decoder" in output
    scores = json.loads((tmp_path / "scores.json").read_text())
    expected = sdl.evaluate(sdl.load(folder / "run"), bench)
    assert scores["metrics"] == pytest.approx(expected.metrics)
    assert scores["nulls"]["samples"] == pytest.approx(expected.nulls["samples"])


def test_a_command_trains_what_a_notebook_does(folder):
    dictionary = sdl.load(folder / "run")
    settings = {"activation": "topk", "k": 3, "n_q": 64, "batch_size": 64, "steps": 60, "log_every": 20}
    again = sdl.fit(folder / "train.h5", progress=False, device="cpu", **settings)
    assert np.array_equal(dictionary.W_dec.numpy(), again.W_dec.numpy())
    assert [row["step"] for row in dictionary.history] == [20, 40, 60]


def test_labels_give_anchors_and_judges(tmp_path, capsys, folder):
    x = np.load(folder / "x.npy")
    np.save(tmp_path / "labels.npy", np.argmax(x, axis=1) % 4)
    labelled = [str(folder / "x.npy"), "--labels", str(tmp_path / "labels.npy")]
    assert "n_anchors must be a share, or a whole number of at most 4 directions, found 0" in refusal(
        capsys, f"fit --anchors class-means --n-anchors 0 --out {tmp_path}/none", *labelled, *TOPK
    )
    main(["fit", *labelled, "--anchors", "class-means", "--out", str(tmp_path / "run"), *TOPK])
    assert sdl.load(tmp_path / "run").settings["lambda_anchor"] == 0.1
    scores = tmp_path / "scores.json"
    main(["evaluate", str(tmp_path / "run"), "--x", *labelled, "--no-nulls", "--out", str(scores)])
    assert "gt_recovery_decoder_unanchored" in capsys.readouterr().out
    # the run's folder knows its anchors, and that they are class means
    dictionary, means = sdl.load(tmp_path / "run"), sdl.class_means(x, np.load(tmp_path / "labels.npy"))
    assert sorted(dictionary.anchors.feature) == list(range(means.W_p.shape[1]))
    metrics = json.loads(scores.read_text())["metrics"]
    assert metrics["mip_decoder_anchored"] == metrics["mip_decoder"]
    assert metrics["mip_decoder_unanchored"] is None
    expected = sdl.evaluate(dictionary, means, x, labels=np.load(tmp_path / "labels.npy"))
    assert metrics["mip_decoder"] == pytest.approx(expected["mip_decoder"])


def test_a_labelled_store_is_judged_by_the_means_of_the_run_and_by_rows(tmp_path, folder):
    x = np.load(folder / "x.npy")
    labels = np.argmax(x, axis=1) % 4
    np.save(tmp_path / "labels.npy", labels)
    labelled = ["--labels", str(tmp_path / "labels.npy"), "--out", str(tmp_path / "run")]
    main(["fit", str(folder / "x.npy"), *labelled, *TOPK])
    mask = labels != 1
    write_store(
        tmp_path / "test.h5", x[mask], labels=np.array([2, -1, 1, 0])[labels[mask]], class_names=["3", "2", "0"]
    )
    np.save(tmp_path / "rows.npy", np.eye(16, dtype=np.float32))
    scores = {}
    for name, more in (("means", []), ("rows", ["--references", str(tmp_path / "rows.npy")])):
        evaluated = ["evaluate", str(tmp_path / "run"), "--x", str(tmp_path / "test.h5"), "--no-nulls", *more]
        main([*evaluated, "--out", str(tmp_path / "scores.json")])
        scores[name] = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    sae = sdl.load(tmp_path / "run")
    expected = sdl.evaluate(sae, sdl.class_means(x, labels), x[mask], labels=labels[mask])
    assert scores["means"]["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert scores["rows"]["mip_decoder"] == pytest.approx(sdl.evaluate(sae, np.eye(16), x)["mip_decoder"])


def test_anchors_come_from_a_file_or_are_discovered(tmp_path, folder):
    x = str(folder / "x.npy")
    np.save(tmp_path / "anchors.npy", np.eye(16, dtype=np.float32)[:3])
    anchored = ["fit", x, "--anchors", str(tmp_path / "anchors.npy"), "--lambda-anchor", "1"]
    main([*anchored, "--out", str(tmp_path / "a"), *TOPK])
    assert sdl.load(tmp_path / "a").settings["lambda_anchor"] == 1
    discovered = ["fit", x, "--anchors", "discover", "--n-anchors", "2", "--lambda-anchor", "1"]
    main([*discovered, "--out", str(tmp_path / "b"), *TOPK])
    assert len(sdl.load(tmp_path / "b").anchors.w_p) == 2


PLUGIN = """
import sdlcore as sdl


@sdl.activation("scaled_topk")
class ScaledTopK(sdl.TopK):
    scale: float
    'What values are multiplied by.'
    labels: int = 3  # which the command calls something else

    def values(self, pre, support):
        return super().values(pre, support) * self.scale


@sdl.loss_term("power")
def power(given, *, scale: float = 2.0, exponent: float = 2.0):
    return given.out.values.pow(exponent).sum()
"""


@pytest.mark.usefixtures("registry")
def test_settings_of_a_plugin_are_options(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "options_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("SDLCORE_PLUGINS", str(tmp_path / "options_plugin.py"))
    fitting = ["fit", str(folder / "train.h5"), *TOPK, "--steps", "20", "--out", str(tmp_path / "run")]
    message = refusal(capsys, "", *fitting, "--activation", "scaled_topk")
    assert "sdlcore: scale: Field required" in message
    main([*fitting, "--activation", "scaled_topk", "--scale", "0.5", "--power", "0.01", "--exponent", "3"])
    settings = sdl.load(tmp_path / "run").settings
    assert [settings[name] for name in ("scale", "power", "exponent")] == [0.5, 0.01, 3]
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    help = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "What values are multiplied by. (of activation scaled_topk); (of loss term power)" in help


def test_several_dictionaries_are_scored_in_a_table(folder, tmp_path, capsys):
    other = sdl.load(folder / "run")
    with torch.no_grad():
        other.coder.W_dec.zero_()
    other.save(tmp_path / "zero.safetensors")
    both = [str(folder / "run"), str(tmp_path / "zero.safetensors")]
    main(["evaluate", *both, "--x", str(folder / "test.npy"), "--out", str(tmp_path / "scores.json")])
    head, *rows = capsys.readouterr().out.splitlines()
    written = json.loads((tmp_path / "scores.json").read_text())
    for row, path in zip(rows, both, strict=True):
        name, *values = row.split()
        assert name == path
        metrics = written[path]["metrics"]
        assert [float(value) for value in values] == pytest.approx(
            [metrics[column] for column in head.split()], rel=1e-3
        )
        assert written[path]["nulls"] == {}
    assert written[both[0]]["metrics"]["fvu"] < 1 <= written[both[1]]["metrics"]["fvu"] + 0.01


def test_a_training_that_diverged_is_one_line(folder, capsys, tmp_path):
    command = f"fit {folder}/train.h5 --out {tmp_path}/run"
    message = refusal(capsys, command, *TOPK, "--steps", "20", "--lr", "1e30")
    assert "sdlcore: training diverged in steps 1 to 20" in message
    assert "Traceback" not in message


def test_an_interruption_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sdlcore.fit", interrupt)
    with pytest.raises(SystemExit) as end:
        main(["fit", "x.npy", "--out", str(tmp_path / "run")])
    assert end.value.code == 130
    assert "sdlcore: interrupted" in capsys.readouterr().err


def test_a_dictionary_is_solved_for(tmp_path, folder):
    main(["solve", str(folder / "train.h5"), "--n-atoms", "48", "--out", str(tmp_path / "run")])
    assert sdl.load(tmp_path / "run").settings["solver"] == "acs"


@pytest.mark.parametrize("pair", ["transcoder", "crosscoder"])
def test_two_files_make_a_transcoder_or_a_crosscoder(pair, tmp_path, folder):
    x = str(folder / "x.npy")
    out = str(tmp_path / "run")
    main(["fit", x, "--target", x, *(["--pair", pair] if pair == "crosscoder" else []), "--out", out, *TOPK])
    assert sdl.load(out).pair == pair
    main(["fit", x, "--target", x, "--start", out, "--out", f"{out}_again", *TOPK])
    assert sdl.load(f"{out}_again").pair == pair
    main(["evaluate", out, "--x", x, "--target", x, "--no-nulls"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit nowhere.npy --out run", "No such file or directory: 'nowhere.npy'"),
        ("fit x.npy --out run --activation topk", "activation topk needs k"),
        ("fit x.npy --out run --activation topkk", "no activation is called topkk; did you mean topk?"),
        ("fit x.npy --out run --device gpu:1", "device: .*, found 'gpu'; did you mean cuda"),
        ("fit x.npy --out run --learning-rate 8", "fit has no option --learning-rate; here it is called lr"),
        (
            "fit x.npy --out run --k 0 --lr nan",
            "k: Input should be .*, found 0; lr: Input should be a finite",
        ),
        ("solve x.npy --out run --d-sae 8", "solve has no option --d-sae"),
        ("evaluate run --bench lrb-x", "run: neither a file or folder on this machine"),
        ("fitt x.npy --out run", "no such command fitt; did you mean fit[?]"),
        ("zzz", "no such command zzz; expected one of extract, suggest, fit, "),
        ("fit x.npy --out a --anchors class-means", "--anchors class-means needs --labels"),
        ("fit x.npy --out a --anchors class_means", "class_means; did you mean class-means?"),
        ("fit x.npy --out a --n-anchors 3", "--n-anchors needs --anchors class-means or discover"),
        ("fit x.npy --out a --pair transcoder", "pair is transcoder, but the inputs are for pair sae"),
        ("fit x.npy --out run.pt", "run.pt: expected a folder"),
        ("bench lrb --out world.h5", "--out is world.h5, expected the name of an array, such as world.npy"),
        ("stability run other", "run: neither a file or folder on this machine"),
        ("evaluate run --bench lrb-s --x x.npy", "evaluate on --bench, or on --x"),
        ("evaluate plain.npz --bench lrb-s", "`sdlcore import plain.npz --activation topk --k 8 --out run`"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("plain.npz", W_enc=np.eye(24, 16), W_dec=np.eye(24, 16))
    *warnings, line = refusal(capsys, arguments).splitlines()
    assert re.search(f"^sdlcore: .*{message}", line)
    assert all("penalty leaves latents dense" in warning for warning in warnings)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_each_option(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert f"usage: sdlcore {command}" in text
    assert all(line.strip("│ ") for line in text.splitlines() if line.startswith("│ --"))


def test_a_dictionary_goes_to_another_library_and_back(tmp_path, folder, capsys):
    main(["export", str(folder / "run"), "--to", "saelens", "--out", str(tmp_path / "theirs"), "--model-name", "gpt2"])
    assert json.loads((tmp_path / "theirs/cfg.json").read_text())["metadata"]["model_name"] == "gpt2"
    main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "back")])
    ours, back = sdl.load(folder / "run"), sdl.load(tmp_path / "back")
    assert np.array_equal(ours.W_enc.numpy(), back.W_enc.numpy())
    assert np.array_equal(sdl.load(tmp_path / "theirs").W_dec.numpy(), ours.W_dec.numpy())
    message = refusal(capsys, f"export {folder}/run --to circuit_tracer --out {tmp_path}/refused")
    assert "circuit-tracer cannot express this topk autoencoder" in message


def test_plain_tensors_become_a_dictionary(tmp_path, folder):
    dictionary, plain = sdl.load(folder / "run"), tmp_path / "plain.safetensors"
    names = ("W_enc", "W_dec", "b_enc", "b_dec")
    save_file({name: getattr(dictionary, name).contiguous() for name in names}, plain)
    main(f"import {plain} --activation topk --k 3 --layout by_latent --out {tmp_path}/run".split())
    x = np.load(folder / "test.npy")
    assert np.allclose(sdl.load(tmp_path / "run").encode(x), dictionary.encode(x), atol=1e-6)


def test_latents_are_read_in_a_language_model(tmp_path, capsys):
    save_tiny_llama(tmp_path / "lm")
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in documents(50)))
    width = (SIZES["hidden_size"],)
    coder = SparseCoder.from_config(ModelConfig(activation="topk", k=8, n_q=40), width, width, torch_stream(0, "coder"))
    sdl.Dictionary(coder).save(tmp_path / "run")
    where = ["--model", str(tmp_path / "lm"), "--text", str(tmp_path / "text.jsonl"), "--layer", "2"]
    where += ["--text-column", "body", "--contexts-per-batch", "4"]
    main(["contexts", str(tmp_path / "run"), *where, "--latents", "3", "5", "--out", str(tmp_path / "pages")])
    assert "latent 3" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"index.html", "latent_3.html", "latent_5.html"}
    main(["contexts", str(tmp_path / "run"), *where, "--out", str(tmp_path / "some")])
    assert len(list((tmp_path / "some").glob("latent_*.html"))) == SHOWN


def test_dictionaries_are_judged_by_a_language_model(tmp_path, capsys):
    save_tiny_llama(tmp_path / "lm")
    texts = documents(60)
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in texts))
    runs = [str(tmp_path / f"seed{seed}") for seed in (0, 1)]
    settings = {"n_q": 32, "activation": "topk", "k": 4, "steps": 5, "batch_size": 64, "device": "cpu"}
    words = ["--at", "layers.1", "--context-length", "16", "--text-column", "body", "--out", str(tmp_path / "x.h5")]
    main(["extract", str(tmp_path / "lm"), str(tmp_path / "text.jsonl"), *words])
    with sdl.extract(
        str(tmp_path / "lm"),
        tmp_path / "text.jsonl",
        at="layers.1",
        out=tmp_path / "x.h5",
        context_length=16,
        text_options={"column": "body"},
        progress=False,
    ) as store:
        for seed, run in enumerate(runs):
            sdl.fit(store, out=run, seed=seed, progress=False, **settings)
    capsys.readouterr()

    reading = ["--model", str(tmp_path / "lm"), "--text", str(tmp_path / "text.jsonl"), "--text-column", "body"]
    reading += ["--context-length", "16", "--contexts", "4"]
    main(["language-scores", *runs, *reading, "--out", str(tmp_path / "scores.csv")])
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == [*BRIEF]
    assert [line.split()[0] for line in table[1:]] == runs
    scores = pd.read_csv(tmp_path / "scores.csv", index_col=0, float_precision="round_trip")
    assert list(scores.index) == runs
    assert scores["clean"].nunique() == 1
    call = {"contexts": 4, "context_length": 16, "progress": False, "text_options": {"column": "body"}}
    expected = sdl.language_scores(sdl.load(runs[1]), str(tmp_path / "lm"), tmp_path / "text.jsonl", **call)
    assert scores.loc[runs[1]].to_dict() == expected._asdict()

    labels = ["long" if len(text) > 120 else "short" for text in texts]
    np.save(tmp_path / "labels.npy", np.array(labels))
    options = ["--labels", str(tmp_path / "labels.npy"), "--k", "1", "None"]
    main(["probe", *runs, "--x", str(tmp_path / "x.h5"), *options, "--no-nulls", "--out", str(tmp_path / "probes.csv")])
    coders = {run: sdl.load(run) for run in runs}
    probes = sdl.probe(coders, tmp_path / "x.h5", labels, k=[1, None], nulls=False)
    assert (tmp_path / "probes.csv").read_text() == probes.to_frame().to_csv(index=False)

    main(["stability", *runs, "--out", str(tmp_path / "pairs.csv")])
    assert "decoder_0.9" in capsys.readouterr().out
    assert (tmp_path / "pairs.csv").read_text() == sdl.stability(coders).to_frame().to_csv(index=False)

    main(["compare", *runs, "--x", str(tmp_path / "x.h5"), "--beside", runs[0], "--out", str(tmp_path / "kept.csv")])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["after", runs[0]]
    kept = sdl.compare(*coders.values(), tmp_path / "x.h5", beside={runs[0]: coders[runs[0]]}).to_frame()
    assert (tmp_path / "kept.csv").read_text() == kept.to_csv()


def test_rows_are_refined_then_re_encoded_and_exported(folder, capsys, tmp_path):
    x, better, encoder = str(folder / "train.h5"), str(tmp_path / "better"), str(tmp_path / "encoder")
    main(["refine", str(folder / "run"), "--x", x, "--rounds", "4", "--n-samples", "1000", "--out", better])
    main(["reencode", better, "--x", x, "--l0", "2.5", "--steps", "20", "--out", encoder])
    main(["export", encoder, "--to", "saelens", "--out", str(tmp_path / "exported")])
    assert "Dictionary(sae, jumprelu, n_p=16, n_q=64, n_r=16)" in capsys.readouterr().out
    np.testing.assert_allclose(sdl.load(tmp_path / "exported").W_dec, sdl.load(better).W_dec, rtol=0, atol=0)


def test_codes_by_search_are_written(folder, capsys, tmp_path):
    main(["search", str(folder / "run"), "--method", "omp", "--k", "2", "--out", str(tmp_path / "omp")])
    assert "Dictionary(sae, omp, k=2, n_p=16, n_q=64, n_r=16)" in capsys.readouterr().out
    assert "posterior needs x, samples" in refusal(capsys, f"search {folder}/run --out {tmp_path}/posterior")


def test_codes_by_search_replace_no_other_dictionary(folder, capsys, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "other")
    line = refusal(capsys, f"search {folder}/run --method omp --k 2 --out {tmp_path}/other")
    assert "other is not empty; choose another folder" in line


def test_advice_and_judgements_print_and_write_their_files(folder, tmp_path, capsys):
    few = shlex.split("--minutes 0.01 --l0 3 --n-q 48 --steps 50 --batch-size 128")
    main(["suggest", str(folder / "train.h5"), "--out", str(tmp_path / "advice"), *few])
    printed = capsys.readouterr().out
    assert "sdl.fit(x, activation=" in printed
    files = {"pilots.csv", "advice.txt", "advice.png"}
    assert {path.name for path in (tmp_path / "advice").iterdir()} == files
    main(["bench", "lrb", "--out", str(tmp_path / "world.npy"), "--seed", "7"])
    assert np.load(tmp_path / "world.npy", mmap_mode="r").shape == (200_000, 96)
    main(["fit", str(tmp_path / "world.npy"), "--out", str(tmp_path / "run"), *TOPK])
    capsys.readouterr()
    main(["judge", str(tmp_path / "run"), "--bench", "lrb", "--seed", "7"])
    assert "detection_f1" in capsys.readouterr().out
