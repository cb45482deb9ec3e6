"""Configurations: the kept ones, the merge of a run's settings, and the parts of the default that own sources get."""

import json
from dataclasses import replace

import jsonschema
import pytest
import yaml

from peers.settings import PeerConfig
from sdlcore.interop.settings import ImportConfig
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.configuration.loading import configure, load_yaml, validate
from sdlstudy.configuration.schema import FILE, as_yaml
from sdlstudy.settings.cells import Cell, run_settings, start_cell
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY

BASE = load_yaml("config/config.yaml")
MINE = {"input": "x.npy", "labels": "l.npy"}


def changed(change):
    return validate(merge(BASE, change))


def settings_of(config, method):
    """Return the settings of a method's runs on the bench."""
    return run_settings(config, Cell("lrb", method, "best", "none", 0)).to_dict()


def alone(method, **settings):
    """Return a change of the default with a method and a table of it."""
    table = {"source": "lrb", "methods": ["theirs"], "anchorings": ["none"]}
    return {"methods": {"theirs": method | settings}, "tables": {"own_theirs": table}}


def runs(tree):
    config = configure(tree, BASE)
    products = config.products_by_path().values()
    return config, {cell for part in products for cell in part.cells(config)}


def test_a_number_stays_as_it_was_written():
    """Digests and params are computed from the text of settings, where 1 differs from 1.0."""
    change = {
        "sources": {"bench": {"lrb": {"beta": 2, "noise": 0, "run": {"lr": 1}}}},
        "methods": {"mine": {"like": "topk", "lambda_aux": 1, "gradient_clip": 2.0, "multi_k": [4, 16]}},
        "anchorings": {"ground_truth": {"lambda_anchor": 1, "n_anchors": 3}},
    }
    config = changed(change)
    whole = config.model_dump()
    bench = whole["sources"]["bench"]["lrb"]
    assert [json.dumps(bench[key]) for key in ("beta", "noise", "c_min")] == ["2", "0", "0.0"]
    assert json.dumps(whole["methods"]["mine"], sort_keys=True) == (
        '{"activation": "topk", "gradient_clip": 2.0, "k": 16, "lambda_aux": 1, "multi_k": [4, 16]}'
    )
    assert json.dumps(whole["anchorings"]["ground_truth"]) == '{"n_anchors": 3, "lambda_anchor": 1}'
    settings = settings_of(config, "mine")
    assert (json.dumps(settings["lr"]), json.dumps(settings["l1"])) == ("1", "0.0")


def test_a_runs_settings_come_from_method_over_source_over_protocol():
    change = {"sources": {"bench": {"lrb": {"run": {"lr": 0.5, "steps": 7}}}}, "methods": {"topk": {"steps": 9}}}
    settings = settings_of(changed(change), "topk")
    assert (settings["batch_size"], settings["lr"], settings["steps"]) == (512, 0.5, 9)
    assert settings_of(validate(BASE), "acs") == SolverConfig().to_dict()  # nothing of protocols and sources


def test_a_peer_takes_batches_from_protocols_and_sources_and_nothing_else():
    peer = {"peer": "saelens", "activation": "topk", "k": 16}
    config = changed(alone(peer) | {"protocols": {"best": {"run": {"precision": "bfloat16"}}}})
    ours, theirs = (settings_of(config, method) for method in ("topk", "theirs"))
    shared = {key: ours[key] for key in ("n_q", "steps", "batch_size", "log_every")}
    assert theirs == PeerConfig().to_dict() | peer | shared
    assert shared == {"n_q": 2048, "steps": 250, "batch_size": 512, "log_every": 20}


def test_imported_dictionaries_and_codes_take_nothing_of_protocols_and_sources():
    imported = changed(alone({"model": "exported", "format": "saelens"}))
    cell = Cell("lrb", "theirs", "best", "none", 0)
    assert run_settings(imported, cell) == ImportConfig(model="exported", format="saelens")
    codes = changed(alone({"search": "posterior", "warm_start": "topk", "samples": 500}))
    assert run_settings(codes, cell) == CodesConfig(samples=500)
    assert start_cell(codes, cell) == replace(cell, method="topk")


@pytest.mark.parametrize(
    ("sources", "anchorings"),
    [
        ({"file": {"mine": MINE}}, ["none", "half_of_classes"]),
        ({"file": {"mine": {"input": "x.npy", "labels": None}}}, ["none"]),
        ({"language": {"mine": {"model": "models/mine", "text": "texts"}}}, ["none"]),
        ({"clip": {"mine": {"like": "fashion_clip", "test_samples": 50}}}, ["none", "half_of_classes"]),
        ({"file": {"base": MINE, "mine": {"like": "base", "input": "y.npy"}}}, ["none", "half_of_classes"]),
    ],
)
def test_an_added_source_is_the_only_one_trained_on_with_anchors_if_it_has_classes(sources, anchorings):
    config, cells = runs({"name": "mine", "sources": sources})
    assert {cell.source for cell in cells} <= {"mine", "base"}
    assert config.tables["own_mine"].anchorings == anchorings
    assert config.figures.model_dump().keys() == {"figure6"}
    assert config.solvers is config.harder is config.anchoring_map is None


def test_what_the_configuration_names_itself_stays():
    mine = {"name": "mine", "sources": {"file": {"mine": MINE}}}
    config, cells = runs(mine | {"figures": {"figure6": {"source": "mine"}}})
    assert {cell.source for cell in cells} == {"mine"}
    assert (config.tables, list(config.figures.model_dump())) == ({}, ["figure6"])
    config, cells = runs(mine | {"tables": {"table2": {"source": "mine"}, "table1": {}}})
    assert config.tables.keys() == {"table1", "table2"}
    assert {cell.source for cell in cells} == {"mine", "lrb"}
    assert runs(mine | {"own": None})[0].tables == {}


def test_seeds_of_a_configuration_replace_the_seeds_of_the_defaults_products():
    asked = {"anchoring_map": {"runs": {"lrb": {"methods": ["topk"]}}}, "tables": {"table4": {"seeds": [9]}}}
    config = configure({"name": "mine", "seeds": [7, 8], **asked}, BASE)
    assert {cell.seed for cell in config.anchoring_map.cells(config)} == {7, 8}
    assert [config.tables[name].seeds_of(config) for name in ("table4", "table5")] == [[9], [7, 8]]
    assert configure({"name": "mine", **asked}, BASE).tables["table5"].seeds == [0]


def test_means_of_classes_are_centred_where_runs_are():
    assert not configure({}, BASE).class_means("fashion_clip").centred  # Table 2: raw activations
    tree = {"name": "mine", "sources": {"file": {"mine": MINE}}}
    assert configure(tree, BASE).class_means("mine").centred  # `own` has methods that normalise
    raw = {"tables": {"table1": {"source": "mine", "methods": ["topk"]}}}
    assert not configure(tree | raw, BASE).class_means("mine").centred


def test_the_committed_schema_is_that_of_the_models_and_fits_the_configurations():
    written = (REPOSITORY / FILE).read_text(encoding="utf-8")
    assert written == as_yaml(), "run: python -m sdlstudy.configuration.schema"
    validator = jsonschema.Draft202012Validator(yaml.safe_load(written))
    for path in sorted((REPOSITORY / "config").glob("*.yaml")):
        assert list(validator.iter_errors(merge(BASE, load_yaml(path)))) == [], path.name
    for wrong in ({"seed": 1}, {"methods": {"topk": {"k": 0}}}, {"sources": {"bench": {"lrb": {"sparsity": 1}}}}):
        assert not validator.is_valid(merge(BASE, wrong)), wrong
