"""The settings of runs in a study."""

from peers.settings import PeerConfig
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.trees import merge

BASE = load_yaml("config/config.yaml")


def settings_of(change, method):
    """Return the settings of a method's runs on the bench of a changed default."""
    return run_settings(validate(merge(BASE, change)), Cell("lrb", method, "best", "none", 0)).to_dict()


def test_a_runs_settings_come_from_method_over_source_over_protocol():
    change = {"sources": {"bench": {"lrb": {"run": {"lr": 0.5, "steps": 7}}}}, "methods": {"topk": {"steps": 9}}}
    settings = settings_of(change, "topk")
    assert (settings["batch_size"], settings["lr"], settings["steps"]) == (512, 0.5, 9)


def test_a_solver_has_no_settings_of_protocols_and_sources():
    assert settings_of({}, "acs") == SolverConfig().to_dict()
    assert "solver" not in settings_of({}, "topk")


def test_a_peer_takes_batches_from_protocols_and_sources_and_nothing_else():
    peer = {"peer": "saelens", "activation": "topk", "k": 16}
    change = {
        "methods": {"theirs": peer},
        "tables": {"table7": {"methods": ["theirs"], "anchorings": ["none"]}},
        "protocols": {"best": {"run": {"precision": "bfloat16"}}},
    }
    ours, theirs = (settings_of(change, method) for method in ("topk", "theirs"))
    shared = {key: ours[key] for key in ("n_q", "steps", "batch_size", "log_every")}
    assert theirs == PeerConfig().to_dict() | peer | shared
    assert shared == {"n_q": 2048, "steps": 250, "batch_size": 512, "log_every": 20}
    assert theirs["lr"] is None


def test_an_anchoring_says_how_anchors_hold_its_runs():
    change = {
        "anchorings": {
            "released": {"n_anchors": 3, "lambda_anchor": 1, "anchor_form": "matched", "anchor_until": 0.5},
            "chosen": {"n_anchors": 3, "anchor_form": "cosine", "anchor_cosine": 0.95},
        }
    }
    study = validate(merge(BASE, change))
    used = {
        name: run_settings(study, Cell("lrb", "topk", "best", name, 0)).given()
        for name in ("none", "ground_truth", "released", "chosen")
    }
    plain = used.pop("none")
    assert {
        name: {key: settings[key] for key in settings.keys() - plain.keys()} for name, settings in used.items()
    } == {
        "ground_truth": {"lambda_anchor": 0.1},
        "released": {"lambda_anchor": 1, "anchor_form": "matched", "anchor_until": 0.5},
        "chosen": {"anchor_form": "cosine", "anchor_cosine": 0.95},
    }
    # a study is passed to products with only the given settings
    assert study.anchorings["ground_truth"].model_dump() == {"n_anchors": 13, "lambda_anchor": 0.1}
