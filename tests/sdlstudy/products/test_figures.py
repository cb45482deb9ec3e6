"""Figures 6 and 8, the overview and convergence, made from files on disk."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from matplotlib.text import Text

from sdlcore.evaluation.metrics import SIDES
from sdlstudy.products.overview import draw_overview, overview_rows, strongest_null
from sdlstudy.results.tables import chance_metrics, read_csv, table_columns
from tests.conftest import REPOSITORY
from tests.sdlstudy.products import studies
from tests.stores import write_store


def texts_of(folder, config, name, rows=None):
    """Return the texts of a figure."""
    with studies.chdir(folder):
        figure = config.products()[name].draw(rows, config.files())
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figure_6_shows_what_was_resampled_and_how_often(tmp_path):
    """The first of two seeds resamples twice, the second never."""
    asked = {"source": "smollm2", "without": "topk_real", "with": "topk_real_resampled"}
    config = studies.alone({"seeds": [0, 1], "figures": {"figure6": asked}})
    figure6, rng, losses = config.products()["figure6"], np.random.default_rng(0), []
    for side in ("without", "with"):
        for cell in (figure6.run(side, seed) for seed in (0, 1)):
            resampled = np.zeros(20, int)
            resampled[[5, 9]] = (30, 4) if cell.seed == 0 and side == "with" else 0
            columns = {"step": 10 * np.arange(1, 21), "reconstruction": 100 / np.arange(1, 21) + rng.random(20)}
            history = pd.DataFrame(columns | {"dead_fraction": rng.random(20) / 2, "resampled": resampled})
            metrics = {"l0": 4.0, "fvu": 0.1 + cell.seed / 100, "dead_fraction": 0.25}
            studies.write_metrics(tmp_path, config.files(), cell, history.to_csv(index=False), metrics=metrics)
            losses.append(history["reconstruction"][-2:].mean())
    rows = studies.pictured(tmp_path, studies.make(config, "figure6", tmp_path), "figure6")
    assert list(rows) == ["variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note"]
    assert rows[["variant", "seed", "resampled", "events"]].to_numpy().tolist() == [
        *(["without", 0, 0, 0], ["without", 1, 0, 0], ["with", 0, 34, 2], ["with", 1, 0, 0])
    ]
    assert rows["fvu"].tolist() == pytest.approx([0.1, 0.11, 0.1, 0.11])
    assert rows["final_loss"].tolist() == pytest.approx(losses)
    assert rows["note"].isna().tolist() == [True, True, True, False]
    assert "TopK SAE with resampling" in texts_of(tmp_path, config, "figure6", rows)


def test_figure_8_shows_every_feature_of_the_first_seed_and_has_no_table(tmp_path):
    config = studies.alone({"seeds": [7, 8], "figures": {"figure8": {"source": "lrb_3d"}}})
    rng, files = np.random.default_rng(0), config.files()
    W = rng.standard_normal((3, 4))
    W /= np.linalg.norm(W, axis=0)
    coefficients = rng.exponential(size=(200, 4)) * (rng.random((200, 4)) < 0.4)
    write_store(
        tmp_path / files.store("lrb_3d", 7, "train"),
        input=coefficients @ W.T,
        features=scipy.sparse.csr_array(coefficients),
    )
    studies.write_matrix(tmp_path / files.feature_matrix("lrb_3d", 7), W)
    assert studies.pictured(tmp_path, studies.make(config, "figure8", tmp_path), "figure8") is None
    texts = texts_of(tmp_path, config, "figure8")
    for text in ("Ground-truth features ($n$ = 4)", "$w_{4}$", "Data samples (198 shown)"):
        assert text in texts
    assert list(config.figures.figure8.drawn(config)) == [("lrb_3d", 7)]


def test_convergence_has_the_history_of_each_run_and_a_solvers_once(tmp_path):
    asked = {"source": "lrb", "methods": ["topk", "acs"], "protocols": ["best", "paper"]}
    config = studies.alone({"figures": {"convergence": asked}})
    convergence = config.figures.convergence
    cells = convergence.cells(config)
    assert convergence.watched
    assert cells == config.all_cells()
    assert config.cells() == []
    for number, cell in enumerate(cells):
        path = tmp_path / config.files().history(cell)
        path.parent.mkdir(parents=True)
        rows = {"step": [1, 2], "seconds": [1.0, 2.0], "fvu": [0.5, 0.25], "gt_recovery_decoder": [0.0, number / 10]}
        pd.DataFrame(rows).to_csv(path, index=False)
    rows = studies.pictured(tmp_path, studies.make(config, "convergence", tmp_path), "convergence")
    last = rows[rows["step"] == 2].assign(protocol=lambda frame: frame["protocol"].fillna(""))
    assert last[["method", "protocol", "seed", "gt_recovery_decoder"]].to_numpy().tolist() == [
        ["topk", "best", 0, 0.0],
        ["topk", "paper", 0, 0.1],
        ["acs", "", 0, 0.2],
    ]
    assert rows["gt_recovery_encoder"].isna().all()


METHODS = ["topk", "relu"]


def table1():
    rows = []
    for method in METHODS:
        for anchoring in ("none", "ground_truth"):
            for protocol in ("best", "paper"):
                names = {"method": method, "anchoring": anchoring, "protocol": protocol}
                row = dict.fromkeys(table_columns(), 0.0) | names
                row |= {f"chance_{name}_mean": 0.15 for name in chance_metrics()}
                row |= {"gt_recovery_decoder_mean": 0.5 if anchoring == "none" else 1.0}
                row |= {"paper_gt_recovery": 0.849} if method == "topk" else {}
                rows.append(row)
    return pd.DataFrame(rows)


def test_the_overview_has_the_paper_the_nearest_protocol_each_side_chance_and_the_strongest_null():
    plain = {"anchoring": "none", "protocol": "best"}
    weak = plain | {"method": "weak", "gt_recovery_decoder_mean": 0.25, "gt_recovery_encoder_mean": 0.0}
    strong = plain | {"method": "strong", "gt_recovery_decoder_mean": 0.0, "gt_recovery_encoder_mean": 0.5}
    table = pd.concat([table1(), pd.DataFrame([weak, strong])], ignore_index=True)
    nearest = read_csv(REPOSITORY / "resources/paper/nearest_protocol.csv")
    rows = overview_rows(table, nearest, METHODS)
    recovery = rows[rows["method"] == "topk"].set_index("mark")["recovery"].to_dict()
    percent = nearest.set_index(["method", "anchoring"]).loc[("TopK SAE", "none"), "gt_recovery_percent"]
    assert recovery == {
        "the paper": 0.849,
        "nearest protocol": pytest.approx(percent / 100),
        **{f"our {side} (protocol {way})": 0.5 * (side == "decoder") for way in ("best", "paper") for side in SIDES},
        "chance": 0.15,
    }
    null = strongest_null(table, ["weak", "strong"])
    assert null == ("strong", 0.5)
    assert draw_overview(rows, null).legends[0].get_texts()[-1].get_text() == "strongest null: strong"
