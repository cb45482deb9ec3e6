"""The parts of the default that a user's configuration inherits."""

import pytest

from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, over_default
from sdlstudy.configuration.validation import batches_beyond_rows
from sdlstudy.settings.trees import merge

BASE = load_yaml("config/config.yaml")
MINE = {"input": "x.npy", "labels": "l.npy"}


def runs(tree):
    config = configure(tree, BASE)
    products = config.products_by_path().values()
    return config, {cell for part in products for cell in (*part.cells(config), *part.cells_without_metrics(config))}


def test_an_added_source_is_the_only_one_trained_on():
    config, cells = runs({"name": "mine", "sources": {"file": {"mine": MINE}}})
    assert {cell.source for cell in cells} == {"mine"}
    assert len(cells) == 2 * 2 * 3 + 3  # methods, with and without anchors, over seeds; and resampling
    assert config.tables["own_mine"].anchorings == ["none", "half_of_classes"]
    assert config.figures.model_dump().keys() == {"figure6"}
    assert all(
        getattr(config, part) is None for part in ("solvers", "harder", "frontier", "discovery", "anchoring_map")
    )


@pytest.mark.parametrize(
    ("sources", "anchorings"),
    [
        ({"file": {"mine": {"input": "x.npy"}}}, ["none"]),
        ({"file": {"mine": {"input": "x.npy", "labels": None}}}, ["none"]),
        ({"language": {"mine": {"model": "models/mine", "text": "texts"}}}, ["none"]),
        ({"clip": {"mine": {"like": "fashion_clip", "test_samples": 50}}}, ["none", "half_of_classes"]),
        ({"file": {"base": MINE, "mine": {"like": "base", "input": "y.npy"}}}, ["none", "half_of_classes"]),
    ],
)
def test_classes_are_anchored_to_where_samples_have_them(sources, anchorings):
    config, _ = runs({"name": "mine", "sources": sources})
    assert config.tables["own_mine"].anchorings == anchorings


def test_means_of_classes_are_centred_where_runs_are():
    assert not configure({}, BASE).class_means("fashion_clip").centred  # Table 2: raw activations
    tree = {"name": "mine", "sources": {"file": {"mine": MINE}}}
    assert configure(tree, BASE).class_means("mine").centred  # `own` has methods that normalise
    raw = {"tables": {"table1": {"source": "mine", "methods": ["topk"]}}}
    assert not configure(tree | raw, BASE).class_means("mine").centred
    table = {"source": "mine", "methods": ["white"]}
    whitened = {"methods": {"white": {"like": "topk", "whiten": True}}, "tables": {"table1": table}}
    assert configure(merge(tree, whitened), BASE).class_means("mine").centred
    uncentred = {"sources": {"file": {"mine": {"class_means": {"centred": False}}}}}
    assert not configure(merge(tree, uncentred), BASE).class_means("mine").centred


def test_what_the_configuration_names_itself_stays():
    figure6 = {"figures": {"figure6": {"source": "mine"}}}
    config, cells = runs({"name": "mine", "sources": {"file": {"mine": MINE}}} | figure6)
    assert {cell.source for cell in cells} == {"mine"}
    assert (config.tables, list(config.figures.model_dump())) == ({}, ["figure6"])
    table = {"tables": {"table2": {"source": "mine"}, "table1": {}}}
    config, cells = runs({"name": "mine", "sources": {"file": {"mine": MINE}}} | table)
    assert config.tables.keys() == {"table1", "table2"}
    assert {cell.source for cell in cells} == {"mine", "lrb"}


def test_the_table_of_an_added_source_is_configurable():
    table = {"methods": ["relu"], "anchorings": ["none", "discovered"], "seeds": [1]}
    tree = {"name": "mine", "sources": {"file": {"mine": {"input": "x.npy"}}}, "own": table}
    config, _ = runs(tree)
    defaults = {"protocols": ["best"], "nulls": [], "null_protocols": None, "sweep": None}
    assert config.tables["own_mine"].model_dump() == {**table, "source": "mine", **defaults}
    assert runs(tree | {"own": None})[0].tables == {}


@pytest.mark.parametrize("tree", [{}, {"sources": {"bench": {"more": {"like": "lrb", "n": 99}}}}, {"seeds": [4]}])
def test_a_configuration_without_new_activations_changes_the_default(tree):
    assert over_default(BASE, tree) == merge(BASE, tree)


@pytest.mark.parametrize("name", ["paper", "tiny", "studies/harder", "peers", "studies/anchoring"])
def test_the_configurations_that_come_with_it_ask_for_what_they_did(name):
    tree = load_yaml(f"config/{name}.yaml")
    merged = merge(BASE, tree)
    for part in ("tables", "figures", "solvers", "harder", "frontier", "discovery", "anchoring_map"):
        assert over_default(BASE, tree).get(part) == merged.get(part)
    assert not any(table.startswith("own_") for table in configure(tree, BASE).tables)


def own_source(run=None, **parts):
    return {"name": "mine", "sources": {"file": {"mine": MINE | ({"run": run} if run else {})}}, **parts}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            own_source({"n_q": 64, "k": 3}),
            r"sources.file.mine.run.k: has no effect.* use methods: \{topk_real: \{k: 3\}\}$",
        ),
        # misspelt, and nothing asks for it
        (
            own_source(methods={"topk_reel": {"k": 2}}),
            r"methods.topk_reel: k has no meaning .* did you mean topk_real\?",
        ),
    ],
)
def test_settings_without_effect_on_any_run_are_refused(tree, message):
    with pytest.raises(ConfigError, match=message):
        configure(tree, BASE)


def test_settings_with_an_effect_on_some_run_are_accepted():
    assert configure(own_source({"n_q": 64}), BASE).sources.file["mine"].run.n_q == 64
    assert configure(own_source(methods={"topk_real": {"k": 3}}), BASE).methods["topk_real"].k == 3
    shared = own_source(protocols={"best": {"run": {"penalty_warmup": 0.3}}})  # for methods with a penalty
    assert configure(shared, BASE).protocols["best"].run.penalty_warmup == 0.3
    spare = own_source(methods={"spare": {"activation": "topk", "k": 2}})  # to be trained by its path
    assert configure(spare, BASE).methods["spare"].k == 2


def test_an_array_that_is_smaller_than_a_batch_may_be_transposed():
    config, _ = runs({"name": "mine", "sources": {"file": {"mine": MINE}}})
    batch = "batch_size 512 exceeds the source's 87 train_samples"
    (wide, *_), (narrow, *_) = (list(batches_beyond_rows(config, "mine", 87, width)) for width in (5000, 64))
    assert wide.endswith(f"{batch}; rows are samples: transpose the array if it has 5000")
    assert narrow.endswith(batch)
    assert list(batches_beyond_rows(config, "mine", 5000, 6000)) == []
