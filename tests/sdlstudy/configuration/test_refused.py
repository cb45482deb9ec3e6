"""Configurations that are refused: each error begins with the path of the wrong key."""

import copy
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, read_given, validate
from sdlstudy.settings.trees import merge

BASE = load_yaml("config/config.yaml")
TABLE = "tables.own_mine"
SWEEP = {"source": "lrb", "methods": ["topk"], "anchorings": ["none"], "sweep": {"parameter": "k", "values": [4]}}
LAW = {"source": "lrb", "n": [128], "noise": [0.0], "runs": {"topk": {"n": [128]}}}


def table(method, **settings):
    return {TABLE: {"source": "lrb", "methods": [method], "anchorings": ["none"], **settings}}


BAD = [
    # keys, types and ranges
    ({"sead": [1]}, "sead: unknown setting; did you mean seeds?"),
    ({"sources.bench.lrb.sparsty": 0.9}, "sources.bench.lrb.sparsty: unknown setting; did you mean sparsity?\n"),
    ({"figures.figre6": {}}, "figures.figre6: unknown setting; did you mean figure6?"),
    ({"name": "../up"}, "name: String should match pattern"),
    ({"sources.bench.lrb.sparsity": 1.0}, "sources.bench.lrb.sparsity: Input should be less than 1, found 1.0"),
    ({"sources.clip.a.images": "x"}, "sources.clip.a.model: Field required"),
    ({"sources.bench.lrb.frequency_exponent": 1.5}, "sources.bench.lrb: frequency_exponent: 1.5 makes the most"),
    ({"tables.table3.methods": ["topk"]}, "tables.table3.methods: unknown setting"),
    ({"anchorings.none.n_anchors": 1}, "anchorings.none.[key]: none is reserved for runs without anchors"),
    ({"cache": "-rf"}, "cache: expected a line without braces and <name>, and no dash at its start; found '-rf'"),
    ({"cache": "data/<results>"}, "cache: expected a line without braces and <name>"),
    # settings of runs, by the dictionary that gives them
    ({"protocols.best.run.learning_rate": 1}, "best.run.learning_rate: unknown setting; here it is called lr"),
    ({"methods.topk.lambda_anchor": 1}, "methods.topk.lambda_anchor: belongs to an anchoring"),
    ({"methods.topk.k": 99_999}, "methods.topk (with sources.lrb.run and protocols.best): k must be at most"),
    ({"methods.acs.lr": 0.1}, "methods.acs.lr: unknown setting"),
    ({"methods.topk.contrast": 0.1}, "contrast compares neighbouring tokens, which only sources of kind language have"),
    ({"processes": 3}, "batch_size = 512 must be a multiple of 3 processes that divide samples"),
    ({"sources.bench.lrb.n_r": None}, "pair transcoder needs a source with a target (n_r of"),
    # names
    ({"sources.bench.smollm2": {}}, "sources: smollm2 is used under two kinds"),
    ({"tables.table1.methods": ["tpok"]}, "did you mean topk?"),
    ({"tables.table1.source": "smollm2"}, "tables.table1.source: smollm2 is not a bench or a source with class_means"),
    ({"protocols.best.methods.tpok.k": 3}, "protocols.best.methods: tpok is not a key of methods"),
    ({"methods.topk_reel.k": 3}, "methods.topk_reel: k has no meaning for activation relu"),
    ({"methods.topk.warm_start": "kmean"}, "methods.topk.warm_start: kmean is not a key of methods"),
    ({"methods.theirs": {"peer": "saelens", "warm_start": "topk"}}, "methods.theirs.warm_start: trainings of other"),
    ({"methods.codes": {"search": "posterior"}}, "methods.codes.warm_start: missing"),
    ({"methods.codes": {"search": "posterior", "warm_start": "acs"}}, "codes.warm_start: acs is none of the trainings"),
    ({"methods.a.like": "matrioshka"}, "methods.a.like: matrioshka is not a key of methods"),
    ({"methods": {"a": {"like": "b"}, "b": {"like": "a"}}}, "methods.a.like: the chain is a circle (a -> b -> a)"),
    ({"anchorings.discovered.discover.method": "topk"}, "topk is not a method that is a solver (acs,"),
    # runs that would not do what is asked
    ({"anchorings.ground_truth.n_anchors": 500}, "ground_truth.n_anchors: 500 anchors, but lrb and"),
    ({"anchorings.ground_truth.features": "parents"}, "ground_truth.features: lrb has no parents"),
    ({"methods.acs.pair": "transcoder"}, "anchorings.discovered.discover.method: a solver of pair transcoder finds no"),
    (table("acs", anchorings=["ground_truth"]), "solvers take no anchors; use anchorings: [none]"),
    ({"sources.language.smollm2.stream": True} | table("acs", source="smollm2"), "solvers read stores; set sources.la"),
    (
        {"sources.language.smollm2.stream": True} | table("topk", source="smollm2", anchorings=["discovered"]),
        "anchorings.discovered.discover: solvers read stores; set sources.language.smollm2.stream to false",
    ),
    ({"sources.bench.lrb.noise": 0.5, "law": LAW}, "law.source: lrb has noise 0.5, expected a bench without"),
    ({"law": LAW | {"runs": {"tpok": {}}}}, "law.runs: tpok is not a key of methods"),
    (
        {"comparison.runs.smollm2": {"methods": ["topk_real"], "score": "mcc"}},
        "score: mcc needs known features",
    ),
    # sweeps
    ({TABLE: merge(SWEEP, {"sweep": {"parameter": "depth"}})}, "depth is a setting neither of sources.bench nor"),
    ({TABLE: SWEEP, "methods.topk_k_4": {"like": "topk", "k": 5}}, f"{TABLE}.sweep.values: 4, but methods.topk_k_4"),
    ({TABLE: merge(SWEEP, {"sweep": {"values": [4000]}})}, "k must be at most n_q = 2048"),
    ({TABLE: merge(SWEEP, {"sweep": {"paper": [32, 64]}})}, f"{TABLE}.sweep.paper: 2 values, expected 1, as many as"),
    ({TABLE: merge(SWEEP, {"methods": ["tpok"]})}, f"{TABLE}.methods: tpok is not a key of methods"),
    ({"anchoring_map.runs.lrb.anchorings": ["discovered"]}, "anchoring_map.runs.lrb.anchorings: expected 2, one for"),
]


def nested(change: dict[str, Any]) -> dict[str, Any]:
    """Return a change with nested keys, given one whose keys are paths such as ``methods.topk.k``."""
    tree: dict[str, Any] = {}
    for path, value in change.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        tree = merge(tree, value)
    return tree


@pytest.mark.parametrize(("change", "message"), BAD, ids=[next(iter(change)) for change, _ in BAD])
def test_a_bad_configuration_is_refused_by_the_path_of_its_key(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(merge(BASE, nested(change)))


@given(
    path=st.sampled_from([("methods", "topk", "k"), ("sources", "bench", "lrb"), ("tables", "table1"), ("protocols",)]),
    value=st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.lists(st.integers(), max_size=2)),
)
def test_a_value_of_any_type_is_valid_or_refused(path, value):
    config = copy.deepcopy(BASE)
    node = config
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with suppress(ConfigError):  # any other exception fails the test
        assert validate(config).name


@pytest.mark.parametrize("config", [{"seeds": [0]}, {"methods": {"topk": {"k": 4}}}, {"tables": {"table1": None}}])
def test_a_configuration_without_a_name_would_overwrite_the_defaults_results(config):
    for same in (config, config | {"name": "quick"}):
        with pytest.raises(ConfigError, match=r"name: results would replace the default's in results/quick\. Set"):
            configure(same, BASE)
    assert configure(config | {"name": "mine"}, BASE).name == "mine"
    assert configure(merge(BASE, config), BASE).name == "quick"  # also if the default's file is named
    assert configure({"device": "cpu", "cache": "/tmp/cache"}, BASE).name == "quick"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: x\nseeds: [0]\nname: y\n", 'the key name occurs twice; leave one out in "'),
        ("name: !!python/object/apply:os.system ['x']", "could not determine a constructor"),
        ("- name: quick", "expected keys with values"),
        ("", "expected keys with values, found None"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_its_name(content, sentence, tmp_path):
    (tmp_path / "text").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refused:
        read_given([tmp_path / "text"], {})
    assert f"{tmp_path}/text: " in str(refused.value)


@pytest.mark.parametrize(("text", "number"), [("1e-3", 1e-3), ("5E4", 5e4), ("-.5e+2", -50.0), ("2.e1", 20.0)])
def test_numbers_with_an_exponent_are_numbers_as_in_yaml_1_2(text, number, tmp_path):
    (tmp_path / "a.yaml").write_text(f"a: {text}")
    assert load_yaml(tmp_path / "a.yaml") == {"a": number}
