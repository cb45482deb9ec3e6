"""Figures 4 and 5, made by the scripts of the workflow from files on disk."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from matplotlib.text import Text

from sdlcore.data.writing import create_store
from sdlcore.evaluation.absorption import absorption, families
from sdlcore.evaluation.zero_loss import solution
from sdlcore.model.saving import save_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream
from sdlcore.run import ModelConfig
from sdlcore.sources.bench.hierarchy import Hierarchy
from sdlcore.sources.bench.samples import coefficients, synthesise
from sdlcore.storage.sealing import write_sealed
from sdlcore.study.configuration.loading import load_yaml, validate
from sdlcore.study.products.figure4 import Learned, figure4, figure4_rows
from sdlcore.study.products.figure5 import Shown, family_of, figure5
from sdlcore.study.report.bench_sentences import figure4_sentences, figure5_sentences
from sdlcore.study.report.page import report
from tests.conftest import REPOSITORY, script

HIERARCHY = {"parents": 2, "children": 3}


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def write_run(folder, method, seed, W, W_enc, W_dec, x):
    """Write what a run of a bench leaves, and return it as the scripts take it."""
    folder = folder / f"{method}{seed}"
    folder.mkdir()
    model = SparseCoder(ModelConfig(n_q=len(W_enc)), (len(W),), (len(W),))
    with torch.no_grad():
        model.W_enc.copy_(torch.from_numpy(W_enc))
        model.W_dec.copy_(torch.from_numpy(W_dec))
    save_model(folder / "model.safetensors", model, {})
    write_sealed(folder / "matrix.safetensors", {"W_p": np.ascontiguousarray(W)}, {})
    with create_store(folder / "test.h5", {}) as store:
        store.append(input=synthesise(x, W), features=x)
    files = {"model": "model.safetensors", "store": "test.h5", "references": "matrix.safetensors"}
    return {"method": method, "seed": seed} | {key: str(folder / name) for key, name in files.items()}


def run_script(name, folder, **options):
    outputs = {"png": folder / f"{name}.png", "pdf": folder / f"{name}.pdf", "summary": folder / f"{name}.csv"}
    script(name)(**options, **outputs)
    assert imread(outputs["png"]).shape[1] >= 1000
    assert outputs["pdf"].read_bytes().startswith(b"%PDF-")
    return pd.read_csv(outputs["summary"])


def spurious(seed):
    """Return four features, samples, and an autoencoder of three axes, turned at random, that loses nothing."""
    W = (np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)).T.astype(np.float32)
    A = np.linalg.qr(stream(seed, "A").standard_normal((3, 3)))[0].astype(np.float32)
    return W, coefficients(300, 4, 0.5, stream(seed, "x")), np.vstack([A, -A])


@pytest.fixture(scope="module")
def zero_loss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure4")
    runs = []
    for seed in (3, 4, 5):
        W, x, both = spurious(seed)
        runs.append(write_run(folder, "topk_3d", seed, W, both, both, x))
    # one that recovers everything and loses something
    W, x, _ = spurious(6)
    runs.append(write_run(folder, "topk_3d", 6, W, W.T, W.T, x))
    return folder, run_script("figure4", folder, runs=runs, names=("topk_3d", "lrb_3d"))


def test_figure4_lists_every_seed_and_shows_the_one_that_recovers_fewest(zero_loss):
    _, rows = zero_loss
    assert rows["seed"].tolist() == [3, 4, 5, 6]
    assert rows["near_zero"].tolist() == [True, True, True, False]
    assert rows["recovered_decoder"].tolist()[-1] == 4
    recovered = (rows["recovered_encoder"] + rows["recovered_decoder"])[rows["near_zero"]]
    assert rows["shown"].sum() == 1
    assert recovered[rows["shown"]].item() == recovered.min()
    for seed in (3, 4, 5):
        W, _, both = spurious(seed)
        row = rows[rows["seed"] == seed].iloc[0]
        assert [row[f"encoder_w{d}"] for d in range(1, 5)] == pytest.approx(np.abs(both @ W).max(axis=0), abs=1e-5)


def test_figure4_says_what_its_numbers_say(zero_loss):
    _, rows = zero_loss
    said = " ".join(figure4_sentences(rows))
    shown, zero = rows[rows["shown"]].iloc[0], rows[rows["near_zero"]]
    assert "Of 4 seeds, 3 end with less than 0.001 of the variance unexplained." in said
    none = ((zero["recovered_encoder"] == 0) & (zero["recovered_decoder"] == 0)).sum()
    assert f" {none} of these recover" in said
    assert f"Seed {shown['seed']} is shown" in said
    assert f"{shown['loss']:.1e} ({shown['fvu']:.1e} of the variance)" in said
    assert f"{zero['recovered_decoder'].mean():.1f} in the decoder" in said
    # where there is no zero loss, none is claimed
    none_found = " ".join(figure4_sentences(rows.assign(near_zero=False)))
    assert "0 end with less than" in none_found
    assert "nothing is shown of a zero loss" in none_found


def test_figure4_prints_loss_cosines_and_silent_latents():
    W, x, both = spurious(3)
    model = SparseCoder(ModelConfig(n_q=6), (3,), (3,))
    found = solution(model.eval(), W, x, synthesise(x, W))
    said = texts(figure4(W, Learned(both, both), found, "a title"))
    for text in ("a title", f"loss {found.loss:.1e}", "0 of 4 recovered", "6 never (grey)", "$n_q$ = 6", "$w_{4}$"):
        assert text in said
    assert list(figure4_rows({3: found}, 3)["fvu"]) == [found.fvu]
    with pytest.raises(ValueError, match="3 x n"):
        figure4(W[:2], Learned(both, both), found, "")
    with pytest.raises(ValueError, match="do not fit"):
        figure4(W, Learned(both, both[:5]), found, "")


def hierarchical(seed):
    n = Hierarchy(**HIERARCHY).size
    W = np.linalg.qr(stream(seed, "W").standard_normal((10, n)))[0].astype(np.float32)
    return W, coefficients(800, n, 0.85, stream(seed, "x"), 1.0, 0.25, Hierarchy(**HIERARCHY))


@pytest.fixture(scope="module")
def absorbed(tmp_path_factory):
    """Two methods, two seeds: the true features; and children that are silent, or carry the parent, which is silent."""
    folder = tmp_path_factory.mktemp("figure5")
    runs = []
    for method in ("absorbing", "ideal"):
        for seed in (0, 1):
            W, x = hierarchical(seed)
            W_enc, W_dec = W.T.copy(), W.T.copy()
            if method == "absorbing":
                hierarchy = Hierarchy(**HIERARCHY)
                for parent in range(hierarchy.parents - seed):
                    W_enc[parent] = 0
                    W_dec[list(hierarchy.family(parent))] += W[:, parent]
            runs.append(write_run(folder, method, seed, W, W_enc, W_dec, x))
    return folder, run_script("figure5", folder, runs=runs, hierarchy=Hierarchy(**HIERARCHY))


def test_figure5_tells_dictionaries_that_absorb_from_those_that_do_not(absorbed):
    _, pairs = absorbed
    assert len(pairs) == 2 * 2 * 6
    shares = pairs.groupby(["method", "seed"])["absorbed"].mean()
    assert shares.to_dict() == {("absorbing", 0): 1.0, ("absorbing", 1): 0.5, ("ideal", 0): 0.0, ("ideal", 1): 0.0}


def test_figure5_says_what_its_numbers_say(absorbed):
    _, pairs = absorbed
    first, absorbing, ideal = figure5_sentences(pairs, {"n": 8, "hierarchy": HIERARCHY})
    assert "2 of the 8 features are parents of 3 children each" in first
    assert absorbing.startswith("absorbing: absorption 0.75 (by seed 1.00, 0.50); 0.00 of the pairs are lost.")
    assert ideal.startswith("ideal: absorption 0.00 (by seed 0.00, 0.00)")
    assert "fire in 1.00 of the samples in which they should and write 1.00 of the parent" in ideal
    (_, single) = figure5_sentences(
        pairs[(pairs["method"] == "ideal") & (pairs["seed"] == 0)], {"n": 8, "hierarchy": HIERARCHY}
    )
    assert single.startswith("ideal: absorption 0.00; ")


def test_figure5_outlines_absorbed_pairs_on_both_sides():
    W, x = hierarchical(0)
    hierarchy = Hierarchy(**HIERARCHY)
    latents, decoder = x.toarray().astype(float), W.T.copy()
    for child in list(hierarchy.family(1))[:2]:
        decoder[child] += W[:, 1]
        latents[latents[:, child] > 0, 1] = 0
    pairs = absorption(latents, x, decoder, W, hierarchy)
    assert family_of(pairs) == 1
    family = families(latents, x, decoder, W, hierarchy)[1]
    figure = figure5([Shown("mine, seed 0", family, pairs[pairs["parent"] == 1], 1 / 3)])
    left, right = figure.axes[:2]
    # each outline is a white rectangle in a black one
    corners = [{(p.get_x() + 0.45, p.get_y() + 0.45) for p in axes.patches} for axes in (left, right)]
    assert [sorted(map(tuple, np.round(sorted(places)))) for places in corners] == [[(0, 1), (0, 2)], [(0, 0), (1, 0)]]
    said = texts(figure)
    for text in (
        "mine, seed 0\n2 of 3 pairs absorbed",
        "over all families: 0.33",
        "(child 3’s)",
        f"{family.response[0, 2]:.2f}",
    ):
        assert text in said


def test_a_family_without_samples_is_drawn_empty():
    W, x = hierarchical(0)
    empty = type(x)((0, x.shape[1]), dtype=np.float32)
    latents = empty.toarray()
    pairs = absorption(latents, empty, W.T, W, Hierarchy(**HIERARCHY))
    family = families(latents, empty, W.T, W, Hierarchy(**HIERARCHY))[0]
    figure = figure5([Shown("mine", family, pairs[pairs["parent"] == 0], np.nan)])
    figure.canvas.draw()
    assert not np.isfinite(family.response).any()
    assert len(figure.axes) >= 2


def test_stores_without_features_are_refused(tmp_path):
    W, x, both = spurious(3)
    run = write_run(tmp_path, "topk_3d", 0, W, both, both, x)
    (tmp_path / "topk_3d0/test.h5").unlink()
    with create_store(tmp_path / "topk_3d0/test.h5", {}) as store:
        store.append(input=synthesise(x, W))
    for name, options in (("figure4", {"names": ("m", "s")}), ("figure5", {"hierarchy": HIERARCHY})):
        with pytest.raises(ValueError, match=r"test\.h5: has no features, expected the store of a bench"):
            run_script(name, tmp_path, runs=[run], **options)


def test_the_report_shows_them_with_their_numbers(zero_loss, absorbed):
    config = validate(load_yaml(REPOSITORY / "config/config.yaml"))
    frames, images = {}, {}
    for name, (folder, rows) in {"figure4": zero_loss, "figure5": absorbed}.items():
        frames[f"{name}_summary"], images[name] = rows, (folder / f"{name}.png").read_bytes()
    page = report(config | {"tables": {}}, frames, images)
    for sentence in [*figure4_sentences(frames["figure4_summary"]), "ideal: absorption 0.00"]:
        assert sentence in page
    assert page.index('id="figure4"') < page.index('id="figure5"') < page.index('id="reading"')
    assert "Licences" not in page
