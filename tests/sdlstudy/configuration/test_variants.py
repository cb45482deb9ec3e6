"""Variants of sources and methods, and the sweeps of tables over them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlstudy.configuration.loading import ConfigError, load_yaml, validate
from sdlstudy.settings.cells import Cell, run_settings, trained_settings
from sdlstudy.settings.trees import merge
from tests.sdlstudy.configuration.changes import named, nested

BASE = load_yaml("config/config.yaml")


def changed(change):
    return validate(merge(BASE, nested(change)))


def settings_of(config, source, method, protocol):
    """Return the settings of a method's runs."""
    return run_settings(config, Cell(source, method, protocol, "none", 0)).to_dict()


def sweep(parameter, values, methods=("topk",), table="table7", **more):
    """Return a change of the default: one sweep, without the paper's values in the default."""
    spec = {"source": "lrb", "methods": list(methods), "sweep": {"parameter": parameter, "values": values}}
    spec["sweep"]["paper"] = None
    return {"tables": {table: spec | more}}


def test_a_variant_has_every_setting_of_its_original_except_those_it_changes():
    config = changed({"sources": {"bench": {"denser": {"like": "lrb", "n": 200, "run": {"steps": 9}}}}})
    lrb, denser = (config.sources.bench[name].model_dump() for name in ("lrb", "denser"))
    assert denser == lrb | {"n": 200, "run": {"n_q": 2048, "steps": 9}}
    assert "like" not in denser
    assert lrb["n"] == 128


def test_variants_of_variants_are_written_out_whatever_their_order():
    methods = {"third": {"like": "second", "lr": 0.1}, "second": {"like": "topk", "k": 3, "lr": 0.2}}
    config = changed({"methods": methods})
    assert config.methods["third"].model_dump() == {"activation": "topk", "k": 3, "lr": 0.1}


def test_what_a_source_requires_may_come_from_what_it_is_like():
    config = changed({"sources": {"clip": {"more": {"like": "fashion_clip", "train_samples": 30000}}}})
    assert config.sources.clip["more"].images == "fashion_mnist"


def test_a_method_takes_what_protocols_have_for_the_one_that_it_is_like():
    change = {"methods": {"other": {"like": "relu", "lr": 0.5}}, "protocols": {"paper": {"methods": {}}}}
    change["protocols"]["paper"]["methods"]["other"] = {"l1": 7}
    config = changed(change)
    best, paper = (settings_of(config, "lrb", "other", protocol) for protocol in ("best", "paper"))
    assert (best["bias"], best["target_l0"], best["lr"]) == (True, 16, 0.5)
    assert (paper["l1"], paper["l1_scale"]) == (7, "none")
    assert settings_of(config, "lrb", "relu", "paper")["l1"] == 0.1


def test_what_a_method_says_itself_is_not_what_protocols_have_for_the_other():
    """Otherwise a protocol that sets JumpReLU's bandwidth would undo a variant with another bandwidth."""
    methods = {"wide": {"like": "jumprelu", "bandwidth": 3}, "wider": {"like": "wide", "init_l0": 5}}
    config = changed({"methods": methods, "protocols": {"best": {"methods": {"wider": {"l0": 0.5}}}}})
    wide, wider = (settings_of(config, "lrb", name, "best") for name in ("wide", "wider"))
    assert (wide["bandwidth"], wide["init_l0"], wide["l0"]) == (3, 16, 0.03)
    assert (wider["bandwidth"], wider["init_l0"], wider["l0"]) == (3, 5, 0.5)
    assert settings_of(config, "lrb", "jumprelu", "best")["bandwidth"] == 1.5


def test_an_activation_without_k_inherits_none():
    methods = {
        "other": {"like": "topk", "activation": "relu"},
        "wider": {"like": "other", "activation": "batchtopk", "k": 3},
    }
    config = changed({"methods": methods, "protocols": {"best": {"methods": {"topk": {"k": 5}}}}})
    assert settings_of(config, "lrb", "other", "best")["k"] is None
    assert settings_of(config, "lrb", "wider", "best")["k"] == 3
    table = {"table1": {"methods": ["other"]}}
    with pytest.raises(ConfigError, match="k has no meaning for activation relu"):
        changed({"methods": {"other": {"like": "topk", "activation": "relu", "k": 4}}, "tables": table})


VARIANTS = [
    ({"sources.bench.a.like": "b"}, ": b is not a key of sources.bench (lrb,"),
    (
        {"sources.bench.a.like": "smollm2"},
        ": smollm2 is not a key of sources.bench (lrb, lrb_leaked, lrb_3d, lrb_hierarchy); it "
        "is a key of sources.language",
    ),
    ({"sources.file.a.like": "b"}, "a.like: b is not a key of sources.file, and sources.file has no other key"),
    ({"methods": {"a": {"like": "b"}, "b": {"like": "a"}}}, "methods.a.like: the chain is a circle (a -> b -> a)"),
    ({"methods.a.like": "a"}, ": the chain is a circle (a -> a)"),
    ({"methods.a.like": 3}, ": expected string"),
    ({"protocols.best.run.like": "topk"}, ": unknown key"),
    ({"sources.clip.a.model": "x"}, "sources.clip.a.images: missing"),
]


def test_a_sweep_of_a_source_has_variants_and_shares_table_1s_runs():
    config = changed(sweep("n", [102, 128, 154], seeds=[1]))
    cells = config.tables["table7"].cells(config)
    assert [cell.source for cell in cells] == ["lrb_n_102"] * 2 + ["lrb"] * 2 + ["lrb_n_154"] * 2
    assert {cell.seed for cell in cells} == {1}
    assert set(cells[2:4]) <= set(config.tables["table1"].cells(config))
    bench = config.model_dump()["sources"]["bench"]
    assert bench["lrb_n_102"] == bench["lrb"] | {"n": 102}


def test_a_sweep_of_a_runs_setting_makes_variants_of_methods_with_what_protocols_have_for_them():
    config = changed(sweep("target_l0", [4, 16, 16.5], methods=["relu"], protocols=["best"]))
    methods = dict.fromkeys(cell.method for cell in config.tables["table7"].cells(config))
    assert list(methods) == ["relu_target_l0_4", "relu", "relu_target_l0_16_5"]
    settings = settings_of(config, "lrb", "relu_target_l0_4", "best")
    assert (settings["target_l0"], settings["init_l0"], settings["bias"]) == (4, 16, True)


def test_a_setting_of_protocols_or_sources_counts_as_a_methods_value():
    """Otherwise Table 1's runs would be trained again under another name."""
    config = changed(sweep("n_q", [1024, 2048]))
    assert [cell.method for cell in config.tables["table7"].cells(config)] == ["topk_n_q_1024"] * 2 + ["topk"] * 2
    assert settings_of(config, "lrb", "topk_n_q_1024", "best")["n_q"] == 1024


def test_a_value_that_needs_more_than_the_parameter_is_a_variant_of_that_name():
    change = sweep("max_interference", [0.05, 0.2])
    change["sources"] = {
        "bench": {"lrb_max_interference_0_05": {"like": "lrb", "max_interference": 0.05, "learning_rate": 0.02}}
    }
    config = changed(change)
    assert config.sources.bench["lrb_max_interference_0_05"].learning_rate == 0.02
    change["sources"]["bench"]["lrb_max_interference_0_05"]["max_interference"] = 0.06
    with pytest.raises(ConfigError, match=r"table7.sweep.values: 0.05, but sources.lrb_max_interference_0_05 has 0.06"):
        changed(change)


SWEEPS = [
    (sweep("depth", [1]), "sweep.parameter: depth is a setting neither of sources.bench nor of "),
    (sweep("run", [1]), "tables.table7.sweep.parameter: run is a setting neither of sources.bench nor of "),
    (sweep("like", [1]), "tables.table7.sweep.parameter: like is a setting neither of sources.bench nor of "),
    (sweep("n", [102.5]), "sources.bench.lrb_n_102_5.n: expected integer"),
    (sweep("sparsity", [1.5]), "sources.bench.lrb_sparsity_1_5.sparsity: 1.5 is greater"),
    (sweep("k", [4000]), "methods.topk_k_4000 (with sources.lrb.run and protocols.best): k must be"),
    (sweep("k", []), "tables.table7.sweep.values: "),
    (sweep("n", [10, 20]), "anchorings.ground_truth.n_anchors: 13 anchors, but only 10 features of lrb_n_10"),
    (sweep("n", [102], source="gpt"), "tables.table7.source: gpt is not a bench"),
    (
        merge(sweep("k", [4]), {"methods": {"topk_k_4": {"like": "topk", "k": 5}}}),
        "tables.table7.sweep.values: 4, but methods.topk_k_4 under protocols.best has 5",
    ),
    (
        merge(sweep("k", [4, 8]), {"tables": {"table7": {"sweep": {"paper": [32]}}}}),
        "tables.table7.sweep.paper: 1 values, expected 2, as many as of ours",
    ),
    ({"tables.table3.source": "smollm2"}, ": smollm2 is not a source under"),
    ({"tables.table3.methods": ["topk"]}, ": unknown key; expected one of source"),
]


@settings(max_examples=25)
@given(st.lists(st.integers(2, 200), min_size=1, max_size=6, unique=True), st.booleans())
def test_a_sweep_adds_the_runs_of_new_values_and_no_others(values, anchored):
    anchorings = ["none", "ground_truth"] if anchored else ["none"]
    tables = {"table1": {"source": "lrb", "methods": ["topk"], "anchorings": anchorings}}
    plain = {**BASE, "tables": tables, "figures": {}, "solvers": None, "harder": None}
    spec = {**tables["table1"], "sweep": {"parameter": "k", "values": values}}
    config = validate({**plain, "tables": {**tables, "table7": spec}})
    cells, before = config.cells(), validate(plain).cells()
    assert len(set(cells)) == len(cells)
    assert len(cells) == len(before) + len(set(values) - {16}) * len(anchorings) * len(config.seeds)
    assert {trained_settings(config, cell).k for cell in cells} == {16, *values}


def test_validating_twice_changes_nothing():
    once = changed(sweep("k", [8, 16]))
    assert validate(once.model_dump()).model_dump() == once.model_dump()


def test_the_papers_sweeps_have_the_papers_points_one_seed_and_its_protocol():
    config = validate(merge(BASE, load_yaml("config/paper.yaml")))
    sizes = {"table4": 7, "table5": 4 * 5, "table6": 4 * 5, "table7": 3}
    for table, runs in sizes.items():
        cells = config.tables[table].cells(config)
        assert len(set(cells)) == len(cells) == 2 * runs, table
        assert {(cell.protocol, cell.seed) for cell in cells} == {("paper", 0)}


def test_a_frontier_has_a_bench_for_each_new_value_and_each_run_once():
    panels = {"n": {"values": [128, 150], "methods": ["acs", "topk"]}, "noise": {"values": [0.0, 0.5]}}
    frontier = {"source": "lrb", "methods": ["acs"], "seeds": [7, 8], "panels": panels}
    config = changed({"frontier": frontier})
    benches = config.model_dump()["sources"]["bench"]
    assert benches["lrb_n_150"] == benches["lrb"] | {"n": 150}
    assert benches["lrb_noise_0_5"] == benches["lrb"] | {"noise": 0.5}
    cells = [cell for cell in config.cells() if cell.seed in (7, 8)]
    pairs = sorted({(cell.source, cell.method) for cell in cells})
    assert pairs == [("lrb", m) for m in ("acs", "topk")] + [
        *(("lrb_n_150", m) for m in ("acs", "topk")),
        ("lrb_noise_0_5", "acs"),
    ]
    assert len(cells) == 2 * len(pairs)
    assert config.bench_seeds("lrb_noise_0_5") == [7, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [*VARIANTS, *SWEEPS],
)
def test_variants_and_sweeps_that_cannot_be_are_refused(change, message):
    with pytest.raises(ConfigError, match=re.escape(named(change, message))):
        changed(change)
