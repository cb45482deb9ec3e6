"""The runs with several `target_l0`, their table and their picture."""

import pandas as pd
import pytest

import sdlcore as sdl
from benchmarks import l0_targets
from tests.stores import write_store


@pytest.fixture
def stores(tmp_path):
    bench = sdl.Bench.draw(n=24, n_p=16, sparsity=0.9, max_interference=0.4, seed=0)
    for part, rows in (("train", 600), ("test", 200)):
        write_store(tmp_path / f"{part}.h5", bench.sample(rows, part))
    return tmp_path


def test_runs_that_are_in_the_file_are_not_trained_again(stores, monkeypatch):
    small = l0_targets.TRAINING | {"n_q": 32, "steps": 40, "batch_size": 64}
    monkeypatch.setattr(l0_targets, "TRAINING", small)
    csv = stores / "l0.csv"
    arguments = ["--stores", str(stores), "--targets", "2", "--csv", str(csv)]
    l0_targets.main([*arguments, "--methods", "JumpReLU"])
    first = pd.read_csv(csv)
    assert first["step"].tolist() == [20, 40]
    assert first["held_out_l0"].isna().tolist() == [True, False]
    l0_targets.main([*arguments, "--methods", "JumpReLU", "Gated"])
    both = pd.read_csv(csv)
    pd.testing.assert_frame_equal(both[:2], first)
    assert both["method"].tolist() == ["JumpReLU"] * 2 + ["Gated"] * 2


def test_the_table_averages_the_last_steps(monkeypatch):
    monkeypatch.setattr(l0_targets, "SETTLED", 40)
    row = {"method": "ReLU", "target": 4, "seed": 0, "fvu": 0.5}
    rows = pd.DataFrame({**row, "step": step, "l0": l0} for step, l0 in ((20, 9.0), (40, 5.0), (60, 4.0)))
    rows.loc[2, "held_out_l0"] = 6.0
    assert l0_targets.table(rows).splitlines()[-1] == "| 4 | 4.5, 6.0 |"
    (axes,) = l0_targets.figure(rows).axes
    assert axes.get_lines()[-1].get_ydata().tolist() == [9, 5, 4]
