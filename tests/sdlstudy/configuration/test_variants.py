"""Variants of sources and methods, and the sweeps of tables over them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlstudy.configuration.loading import ConfigError, load_yaml, validate
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.trees import merge

BASE = load_yaml("config/config.yaml")


def changed(change):
    return validate(merge(BASE, change))


def settings_of(config, source, method, protocol):
    """Return the settings of a method's runs."""
    return run_settings(config, Cell(source, method, protocol, "none", 0)).to_dict()


def sweep(parameter, values, methods=("topk",), **more):
    """Return a change of the default: one sweep, without the paper's values in the default."""
    spec = {"source": "lrb", "methods": list(methods), "sweep": {"parameter": parameter, "values": values}}
    spec["sweep"]["paper"] = None
    return {"tables": {"table7": spec | more}}


def test_a_variant_has_every_setting_of_its_original_except_those_it_changes():
    change = {"sources": {"bench": {"denser": {"like": "lrb", "n": 200, "run": {"steps": 9}}}}}
    methods = {"third": {"like": "second", "lr": 0.1}, "second": {"like": "topk", "k": 3, "lr": 0.2}}
    config = changed(change | {"methods": methods})
    lrb, denser = (config.sources.bench[name].model_dump() for name in ("lrb", "denser"))
    assert denser == lrb | {"n": 200, "run": {"n_q": 2048, "steps": 9}}
    assert lrb["n"] == 128
    assert config.methods["third"].model_dump() == {"activation": "topk", "k": 3, "lr": 0.1}


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


def test_an_activation_without_k_inherits_none():
    methods = {
        "other": {"like": "topk", "activation": "relu"},
        "wider": {"like": "other", "activation": "batchtopk", "k": 3},
    }
    config = changed({"methods": methods, "protocols": {"best": {"methods": {"topk": {"k": 5}}}}})
    assert settings_of(config, "lrb", "other", "best")["k"] is None
    assert settings_of(config, "lrb", "wider", "best")["k"] == 3


def test_a_sweep_of_a_source_has_variants_and_shares_table_1s_runs():
    config = changed(sweep("n", [102, 128, 154], seeds=[1]))
    cells = config.tables["table7"].cells(config)
    assert [cell.source for cell in cells] == ["lrb_n_102"] * 2 + ["lrb"] * 2 + ["lrb_n_154"] * 2
    assert set(cells[2:4]) <= set(config.tables["table1"].cells(config))
    bench = config.model_dump()["sources"]["bench"]
    assert bench["lrb_n_102"] == bench["lrb"] | {"n": 102}


def test_a_sweep_of_a_runs_setting_makes_variants_of_methods_with_what_protocols_have_for_them():
    config = changed(sweep("target_l0", [4, 16, 16.5], methods=["relu"], protocols=["best"]))
    methods = dict.fromkeys(cell.method for cell in config.tables["table7"].cells(config))
    assert list(methods) == ["relu_target_l0_4", "relu", "relu_target_l0_16_5"]
    found = settings_of(config, "lrb", "relu_target_l0_4", "best")
    assert (found["target_l0"], found["init_l0"], found["bias"]) == (4, 16, True)
    # settings of protocols and sources count too; otherwise Table 1's runs would be trained again under another name
    config = changed(sweep("n_q", [1024, 2048]))
    assert [cell.method for cell in config.tables["table7"].cells(config)] == ["topk_n_q_1024"] * 2 + ["topk"] * 2


def test_a_value_that_needs_more_than_the_parameter_is_a_variant_of_that_name():
    change = sweep("max_interference", [0.05, 0.2])
    change["sources"] = {
        "bench": {"lrb_max_interference_0_05": {"like": "lrb", "max_interference": 0.05, "frequency_exponent": 0.5}}
    }
    config = changed(change)
    assert config.sources.bench["lrb_max_interference_0_05"].frequency_exponent == 0.5
    change["sources"]["bench"]["lrb_max_interference_0_05"]["max_interference"] = 0.06
    with pytest.raises(ConfigError, match=r"table7.sweep.values: 0.05, but sources.lrb_max_interference_0_05 has 0.06"):
        changed(change)


@settings(max_examples=10)
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
    assert {run_settings(config, cell).k for cell in cells} == {16, *values}
