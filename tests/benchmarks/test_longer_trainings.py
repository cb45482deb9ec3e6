"""Trials of learning rates, and runs with their ranks."""

import json

import pandas as pd

from benchmarks.longer_trainings import with_runs, with_trials

TRIALS = "ground,method,seed,lr,own_settings,steps,mip_decoder,detection_f1,fvu,l0,dead_fraction,chosen\n"


def add_run(folder, name, lr, fvu, l0, **settings):
    run = folder / "runs/smollm2_200k" / name / "l0_32/none/seed100"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"settings": {"lr": lr, "steps": 2000, **settings}}))
    if fvu is not None:
        (run / "metrics.json").write_text(json.dumps({"metrics": {"fvu": fvu, "l0": l0, "dead_fraction": 0.0}}))


def test_the_best_trial_at_about_the_goals_l0_is_chosen(tmp_path):
    (tmp_path / "trials.csv").write_text(
        f"{TRIALS}plain,relu,100,0.01,l0_gain 0.1,250,0.9,0.5,0.1,16,0,1\n"
        "smollm2_200k,topk,100,0.003,,2000,,,0.19,32,0,1\n"
    )
    add_run(tmp_path, "topk_lr_0_001", 0.001, 0.18, 32.0)
    penalty = {"target_l0": 32, "l0_gain": 0.01}
    add_run(tmp_path, "jumprelu", 0.01, None, None, **penalty)
    add_run(tmp_path, "jumprelu_lr_0_001", 0.001, 0.1, 60.0, **penalty)
    add_run(tmp_path, "jumprelu_lr_0_003", 0.003, 0.16, 33.0, **penalty)
    table = with_trials(pd.read_csv(tmp_path / "trials.csv"), tmp_path)
    assert len(table) == 6
    chosen = table[table["chosen"] == 1].set_index(["ground", "method"])
    assert chosen["lr"].to_dict() == {
        ("plain", "relu"): 0.01,
        ("smollm2_200k", "topk"): 0.001,
        ("smollm2_200k", "jumprelu"): 0.003,
    }
    assert chosen.loc[("smollm2_200k", "jumprelu"), "own_settings"] == "l0_gain 0.01"


def test_runs_of_a_ground_replace_its_rows_only(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/comparison_synth_s.csv").write_text("ground,method,seed\nsynth_s,topk,0\n")
    old = pd.DataFrame([("synth_s", "relu", 0), ("synth_m", "topk", 0)], columns=["ground", "method", "seed"])
    rows = with_runs(old, tmp_path)
    assert set(rows.itertuples(index=False, name=None)) == {("synth_s", "topk", 0), ("synth_m", "topk", 0)}
