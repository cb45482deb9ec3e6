import copy
import json
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.settings import ARCHITECTURES
from sdlcore.interop.settings import ImportConfig
from sdlstudy.configuration.loading import ConfigError, load_yaml, validate
from sdlstudy.settings.cells import Cell, run_settings, start_cell, trained_settings
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.trees import merge
from tests.sdlstudy.configuration.changes import named, nested

BASE = load_yaml("config/config.yaml")
TOPK = {"lrb": {"methods": ["topk"]}}


@pytest.mark.parametrize("name", ["config", "tiny", "paper"])
def test_the_configurations_that_come_with_it_are_valid(name):
    config = validate(merge(BASE, load_yaml(f"config/{name}.yaml")))
    assert config.name == {"config": "quick"}.get(name, name)
    assert config.tables["table1"].cells(config)
    assert config.figures.figure6.runs(config, "with")


def test_the_papers_configuration_holds_table_3():
    bench = validate(merge(BASE, load_yaml("config/paper.yaml"))).sources.bench["lrb"]
    table3 = {"n": 1000, "n_p": 768, "n_r": 768, "train_samples": 100_000, "sparsity": 0.99, "max_interference": 0.1}
    assert table3.items() <= bench.model_dump().items()
    assert bench.run.n_q == 16_000


def test_runs_longer_than_a_minute_write_checkpoints():
    config = validate(merge(BASE, load_yaml("config/paper.yaml")))
    training = trained_settings(config, Cell("lrb", "topk", "best", "none", 0))
    assert training.checkpoint_every < training.steps / 2


def test_validation_fills_in_defaults_and_leaves_its_argument_alone():
    before = copy.deepcopy(BASE)
    config = validate(BASE)
    assert before == BASE
    assert config.sources.bench["lrb"].beta == 1.0
    assert config.sources.bench["lrb_3d"].run.model_dump() == {}
    assert config.sources.bench["lrb"].hierarchy is None
    assert config.device == "auto"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, ": .*non-empty"),
        ({"seeds": [1, 1]}, ": .*unique"),
        ({"nulls": []}, ": unknown key; nulls belongs under tables.NAME or own. Expected one of anchoring_map"),
        ({"seeds": 1}, r": expected array .*, found 1; write \[1\]"),
        (
            {"seeds": 3},
            r": .*, found 3; seeds are a list: write \[0, 1, 2\] for 3 of them, or \[3\] for the seed 3 alone",
        ),
        ({"seeds": 42}, r": expected array .*, found 42; write \[42\]"),
        ({"tables.table1.seeds": 2}, r": .* found 2; .* write \[0, 1\] for 2 of them"),
        ({"seed": 1}, "^  seed: unknown key; did you mean seeds\\? Expected one of anchoring_map, anchorings, "),
        ({"name": "../up"}, ": expected lower-case letters"),
        ({"device": "tpu"}, ": 'tpu' is not one of"),
        ({"processes": 0}, ": 0 is less than the minimum of 1"),
        ({"processes": 3}, "methods.topk .*: batch_size = .* must be a multiple of 3 processes that divide samples"),
        ({"methods.topk.contrast": 0.1}, "methods.topk .*: contrast compares neighbouring tokens, which only"),
        ({"processes": 3, "split": "latents"}, "methods.topk .*: n_q = 2048 must be a multiple of 3 processes"),
        ({"protocols.best.run.steps": 250.0}, ": expected integer"),
        ({"seeds": [0.0]}, r"seeds\[0\]: expected integer"),
        (
            {"anchorings.few.n_anchors": 2, "tables.table1.anchorings": ["none", "ground_truth", "few"]},
            "tables.table1.anchorings: .* one anchoring beside none, found 2",
        ),
        ({"protocols.best.run.lr": "1e-4"}, ": expected number .*found '1e-4'"),
        ({"protocols.best.run.lr": "fast"}, ": expected number .*found 'fast'$"),
        ({"protocols.best.run.lr": float("nan")}, ": expected a finite number"),
        ({"protocols.best.run.learning_rate": 1}, ": unknown key; here it is called lr. Expected one of"),
        ({"sources.bench.lrb.sparsity": 1.0}, ": 1.0 is greater"),
        ({"sources.bench.smollm2": {}}, "sources: smollm2 is used under two kinds"),
        ({"sources.bench.lrb.n_r": None}, "methods.transcoder .*n_r"),
        ({"methods.topk_real.pair": "transcoder"}, "set sources.language.smollm2.layers, or its site to mlp"),
        (
            {"sources.language.smollm2": {"site": "mlp", "layers": [1, 2]}},
            "smollm2.layers: takes one site of several blocks, but mlp is two",
        ),
        ({"sources.language.smollm2.layers": [1]}, "smollm2.layers: .*too short"),
        (
            {"sources.language.smollm2.layers": [1, 2, 3], "methods.topk_real.pair": "transcoder"},
            "pair transcoder reads one site and writes another, but smollm2 has 3 sites; give it two layers",
        ),
        ({"sources.language.smollm2.site": "attention"}, "smollm2.site: 'attention' is not one of res"),
        ({"sources.language.smollm2.target_site": "residual"}, "smollm2.target_site: is residual, as"),
        ({"sources.language.smollm2.paths.block": "h"}, "smollm2.paths.block: unknown key; did you mean blocks"),
        ({"sources.language.a": {"like": "smollm2", "each_layer": []}}, "language.a.each_layer: .*non-empty"),
        (
            {"sources.language.a": {"like": "smollm2", "each_layer": [1, 2], "stream": True}},
            "a_layer1.stream: cannot be combined with one_pass or each_layer",
        ),
        (
            {
                "sources.language": {
                    "a": {"like": "smollm2", "one_pass": "both"},
                    "b": {"like": "a", "site": "mlp", "context_length": 64},
                }
            },
            "b.one_pass: differs from a in context_length; sources of one pass may differ only in their sites",
        ),
        ({"sources.bench.lrb.train_samples": 5}, "batch_size 512 exceeds"),
        ({"methods.Top K": {}}, ": not a valid name"),
        ({"methods.topk.k": 99_999}, "methods.topk .*k must be at most n_q = 2048"),
        ({"methods.topk.activation": "relu"}, "methods.topk .*k has no meaning"),
        ({"anchorings.none.n_anchors": 1}, "anchorings.none: not a valid name"),
        ({"anchorings.ground_truth.n_anchors": 500}, "500 anchors, but only 128 features of lrb"),
        ({"anchorings.few": {}}, "anchorings.few.n_anchors: missing"),
        ({"anchorings.few.n_anchors": 1.5}, "few.n_anchors: expected an integer, or a share below 1, found 1.5"),
        ({"anchorings.few.n_anchors": 0}, ": 0 is less than or equal to"),
        (
            {"anchorings.few": {"n_anchors": 0.5, "discover": {"method": "acs"}}},
            "anchorings.few.n_anchors: expected an integer, found 0.5",
        ),
        (
            {"anchorings.ground_truth.anchor_cosine": 0.95},
            "anchorings.ground_truth.lambda_anchor: 0.1, but anchor_cosine chooses it; leave it out",
        ),
        ({"anchorings.ground_truth.features": "parents"}, ": lrb has no parents; expected a bench with hierarchy"),
        (
            {"anchorings.discovered.features": "parents"},
            ": discovered anchors are drawn from no features; leave it out",
        ),
        ({"tables.table1.methods": ["topk", "nmf"]}, ": nmf is not a key of methods"),
        ({"tables.table1.nulls": ["frozen"]}, ": frozen is not a key of methods"),
        ({"tables.table1.null_protocols": ["bset"]}, "table1.null_protocols: bset is not a key of protocols"),
        ({"tables.table1.nulls": ["topk"]}, ": topk is one of methods, too; leave it out"),
        (
            {"anchorings.few.n_anchors": 2, "tables.table1.anchorings": ["ground_truth", "few"]},
            "tables.table1.anchorings: .* one anchoring beside none, found 2",
        ),
        ({"tables.table1.source": "smollm2"}, ": smollm2 is not a bench or a source with class_means"),
        ({"tables.table1.anchorings": ["clip"]}, "clip is not none or a key of anchorings"),
        ({"tables.table99": {"source": "lrb", "methods": ["topk"]}}, ": not a valid name"),
        ({"figures.figure8.source": "lrb"}, ": lrb is not .* n_p = 3"),
        (
            {"sources.bench.lrb.hierarchy": {"parents": 26, "children": 4}},
            ": there are 130 parents and children, but n is 128; raise n",
        ),
        (
            {"sources.bench.lrb.frequency_exponent": 1.5},
            ": 1.5 makes the most frequent of 128 features active with .* 1.5",
        ),
        (
            {"sources.bench.lrb_hierarchy": {"correlation": 0.5, "group_size": 41}},
            "sources.bench.lrb_hierarchy.group_size: 41 features of a group, but only 40 are drawn",
        ),
        (
            {"frontier": {"source": "lrb", "methods": ["acs"], "panels": {"frequency_exponent": {"values": [0, 2.0]}}}},
            "sources.bench.lrb_frequency_exponent_2_0.frequency_exponent: 2 makes the most frequent",
        ),
        (
            {"frontier": {"source": "lrb", "methods": ["acs"], "panels": {"colour": {"values": [1]}}}},
            "frontier.panels: colour is not a number of sources.bench.lrb",
        ),
        (
            {"frontier": {"source": "lrb", "methods": ["acs"], "panels": {"n": {"values": [99], "methods": ["nmf"]}}}},
            "frontier.panels.n.methods: nmf is not a key of methods",
        ),
        (
            {"frontier": {"source": "smollm2", "methods": ["acs"], "panels": {"n": {"values": [99]}}}},
            "frontier.source: smollm2 is not a source under sources.bench",
        ),
        (
            {"frontier": {"source": "lrb", "methods": ["acs"], "panels": {"n": {"values": [99.5]}}}},
            "sources.bench.lrb_n_99_5.n: expected integer",
        ),
        ({"sources.bench.lrb.correlation": 1.2}, "lrb.correlation: 1.2 is greater"),
        ({"sources.bench.lrb.noise": -1}, "lrb.noise: -1 is less"),
        ({"sources.bench.lrb.hierarchy.parents": 2}, "lrb.hierarchy.children: missing"),
        ({"sources.bench.lrb.hierarchy": {"parents": 0, "children": 1}}, "hierarchy.parents: 0 is less"),
        ({"figures.figure4.source": "lrb"}, ": lrb is not .* n_p = 3"),
        ({"figures.figure4.method": "nmf"}, ": nmf is not a key of methods"),
        ({"figures.convergence.source": "smollm2"}, ": smollm2 is not a source"),
        ({"figures.convergence.methods": ["sgd"]}, ": sgd is not a key"),
        ({"figures.convergence.methods": []}, ": .*non-empty"),
        ({"figures.figure4.protocol": "worst"}, ": worst is not a key of protocols"),
        ({"sources.bench.lrb_hierarchy.run.steps": 0}, "lrb_hierarchy.run.steps: 0 is less"),
        ({"methods.topk_few.k": 99}, "methods.topk_few .*k must be at most n_q = 64"),
        ({"figures.figure6.source": "gpt"}, ": gpt is not a source"),
        ({"sources.file.mine": {}}, "sources.file.mine.input: missing"),
        ({"sources.file.mine.input": "x.csv"}, ": expected the path of an .npy.*x.csv"),
        (
            {"sources.file.mine": {"input": "x.npy", "test_target": "y.npy"}},
            "sources.file.mine.test_target: has no meaning without test_input",
        ),
        ({"sources.file.lrb.input": "x.npy"}, "sources: lrb is used under two kinds"),
        (
            {"sources.file.mine.input": "x.npy", "figures.figure6": {"source": "mine", "without": "crosscoder"}},
            "methods.crosscoder .*needs a source with a target; set sources.file.mine.target",
        ),
        ({"tables.table1.methods": ["tpok"]}, r"methods: tpok is not a key of methods \(.*\); did you mean topk\?"),
        ({"methods.a.like": "matrioshka"}, r"like: matrioshka is not .*\); did you mean matryoshka\?"),
        ({"methods.topk.warm_start": "kmean"}, r"warm_start: kmean is not .*\); did you mean kmeans\?"),
        ({"figures.figure6.source": "smollm"}, r"source: smollm is not .*\); did you mean smollm2\?"),
        ({"stability.runs.lrb.methods": ["topk"]}, "stability.runs: lrb is not a source whose samples all seeds share"),
        (
            {"language_scores.runs.lrb.methods": ["topk"]},
            "language_scores.runs: lrb is not a source under sources.language",
        ),
        ({"comparison.runs.lrb": {"methods": ["topk"], "protocol": "bets"}}, "comparison.runs.lrb.protocol: bets"),
        ({"comparison": {"runs": TOPK, "nulls": ["tokp"]}}, "comparison.nulls: tokp"),
        ({"comparison.runs.again": {"methods": ["topk"], "source": "lbr"}}, "comparison.runs.again.source: lbr"),
        # a misspelt score, no column of the tables, neither high nor low is better, and no features are known
        *(
            (
                {f"comparison.runs.{source}": {"methods": ["topk"], "score": score}},
                rf"comparison\.runs\.{source}\.score: {score}.*\(.*fvu",
            )
            for source, score in (
                *(("lrb", "fuv"), ("lrb", "gt_recovery_encoder"), ("lrb", "l0"), ("smollm2", "mip_decoder")),
            )
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_path(change, message):
    with pytest.raises(ConfigError) as refused:
        validate(merge(BASE, nested(change)))
    lines = str(refused.value).splitlines()
    assert any(re.search(named(change, message), line) for line in lines[1:]), str(refused.value)


def unknown_key(change):
    """Return the error for a change of the default with one unknown key."""
    with pytest.raises(ConfigError, match="unknown key") as refused:
        validate(merge(BASE, nested(change)))
    (line,) = str(refused.value).splitlines()[1:]
    where, suggestion = line.strip().split(": unknown key; ")
    question, _, keys = suggestion.rpartition("xpected one of ")
    return where, question.rstrip(" eE"), set(keys.split(", "))


@pytest.mark.parametrize(
    ("change", "where", "meant"),
    [
        ({"methods.topk.kk": 3}, "methods.topk.kk", "k"),
        ({"methods.topk.multik": [4, 16]}, "methods.topk.multik", "multi_k"),
        ({"protocols.best.run.learning_rat": 1}, "protocols.best.run.learning_rat", None),
        ({"sources.bench.lrb.sparsty": 0.9}, "sources.bench.lrb.sparsty", "sparsity"),
        ({"source": {}}, "source", "sources"),
        ({"figures.figure7.source": "lrb"}, "figures.figure7", "figure"),
        ({"anchorings.ground_truth.anchors": 3}, "anchorings.ground_truth.anchors", "n_anchors"),
    ],
)
def test_the_key_that_was_meant_is_suggested(change, where, meant):
    key, question, keys = unknown_key(change)
    assert key == where
    assert question.startswith(f"did you mean {meant}" if meant else "")
    assert bool(question) == bool(meant)
    assert meant is None or any(key.startswith(meant) for key in keys)


@pytest.mark.parametrize(
    ("method", "fit", "unfit"),
    [
        ("topk", {"k", "lr", "l1", "like", "warm_start", "solver", "peer"}, {"n_atoms", "ridge", "sweeps", "encoder"}),
        ("acs", {"n_atoms", "ridge", "batch_size", "like", "warm_start", "solver"}, {"k", "lr", "n_q", "peer"}),
        ("theirs", {"peer", "k", "lr", "like", "normalise"}, {"n_atoms", "warm_start", "solver", "whiten"}),
        ("opened", {"model", "format", "like"}, {"k", "lr", "peer", "warm_start", "solver"}),
    ],
)
def test_of_a_method_only_the_keys_are_named_that_fit_its_kind(method, fit, unfit):
    change = {"methods": {"theirs": {"peer": "saelens"}, "opened": {"model": "exported"}}}
    _, _, keys = unknown_key(merge(change, {"methods": {method: {"nonsense": 1}}}))
    assert fit <= keys
    assert not unfit & keys


def test_a_number_stays_as_it_was_written():
    """Digests and params are computed from the text of settings, where 1 differs from 1.0."""
    change = {
        "sources": {"bench": {"lrb": {"beta": 2, "noise": 0, "run": {"lr": 1}}}},
        "methods": {"mine": {"like": "topk", "lambda_aux": 1, "gradient_clip": 2.0, "multi_k": [4, 16]}},
        "anchorings": {"ground_truth": {"lambda_anchor": 1, "n_anchors": 3}},
        "frontier": {"source": "lrb", "methods": ["acs"], "panels": {"noise": {"values": [1, 0.5]}}},
    }
    config = validate(merge(BASE, change))
    whole = config.model_dump()
    bench = whole["sources"]["bench"]["lrb"]
    assert [json.dumps(bench[key]) for key in ("beta", "noise", "c_min")] == ["2", "0", "0.0"]
    assert json.dumps(whole["methods"]["mine"], sort_keys=True) == (
        '{"activation": "topk", "gradient_clip": 2.0, "k": 16, "lambda_aux": 1, "multi_k": [4, 16]}'
    )
    assert json.dumps(whole["anchorings"]["ground_truth"]) == '{"n_anchors": 3, "lambda_anchor": 1}'
    assert json.dumps(whole["frontier"]["panels"]["noise"]["values"]) == "[1, 0.5]"
    settings = run_settings(config, Cell("lrb", "mine", "best", "none", 0)).to_dict()
    assert (json.dumps(settings["lr"]), json.dumps(settings["l1"])) == ("1", "0.0")


def paths(tree, path=()):
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


@given(path=st.sampled_from(sorted(paths(BASE), key=str)), key=st.from_regex(r"[a-z]{3,9}_typo", fullmatch=True))
def test_an_unknown_key_anywhere_is_refused_or_is_a_new_name(path, key):
    config = copy.deepcopy(BASE)
    node = config
    for part in path[:-1]:
        node = node[part]
    node[key] = {"nonsense": 1}
    with pytest.raises(ConfigError, match=key):
        validate(config)


@given(
    path=st.sampled_from(sorted(paths(BASE), key=str)),
    value=st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.lists(st.integers(), max_size=2)),
)
def test_any_value_anywhere_is_valid_or_refused(path, value):
    config = copy.deepcopy(BASE)
    node = config
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with suppress(ConfigError):  # any other exception fails the test
        assert validate(config).name


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("a: [", "not readable as YAML .*line 1")])
def test_files_that_cannot_be_read_are_named(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"{path}: {message}"):
        load_yaml(path)


CLIP = {"images": "photos", "model": "ViT-B-32-quickgelu", "pretrained": "openai", "test_samples": 100}


CLIP_SOURCES = [
    ({"images": "fashion_mnist", "test_images": "photos"}, "test_images: must be null, since fashion_mnist has its"),
    ({"images": "fashion_mnist", "train_samples": 60001}, "train_samples: 60001 images, but fashion_mnist has 60000"),
    ({"test_samples": None}, ": missing; without test_images, it is the number of images to hold out"),
    (
        {"pretrained": "trained"},
        "test_images: missing; a CLIP that is trained here needs a separate folder for evaluation",
    ),
    ({"test_images": "./photos/"}, ": is the same folder as images; leave it out and set test_samples"),
    (
        {"images": "fashion_mnist", "pretrained": "trained", "train_samples": 99, "training": {"batch_size": 100}},
        "training.batch_size: 100 exceeds the source's 99 train_samples",
    ),
    ({"embedding": "text"}, ": 'text' is not one of"),
    ({"train_samples": 0}, ": 0 is less than the minimum of 1"),
]


@pytest.mark.parametrize(
    ("source", "train_samples"), [({}, None), ({"images": "fashion_mnist"}, 20000), ({"train_samples": 300}, 300)]
)
def test_a_clip_source_cannot_fill_a_batch_above_its_train_samples(source, train_samples):
    change = {
        "sources": {"clip": {"mine": CLIP | source}},
        "figures": {"figure6": {"source": "mine"}},
        "protocols": {"best": {"run": {"batch_size": 20001}}},
    }
    # the other source of the table can use the batch size
    change["sources"]["bench"] = {"lrb": {"train_samples": 20001}}
    config = merge(BASE, change)
    config["sources"]["clip"]["mine"]["run"] = {"batch_size": 20001}
    if train_samples is None:
        assert validate(config).sources.clip["mine"].train_samples is None
        return
    with pytest.raises(ConfigError, match=f"batch_size 20001 exceeds the source's {train_samples} train_samples"):
        validate(config)


SOLVERS = [
    ({"methods.acs.support": 128}, "max_support must be at least support = 128"),
    ({"methods.acs.lr": 0.1}, "lr: unknown setting"),
    ({"methods.acs.solver": "magic"}, "methods.acs.solver"),
    ({"solvers.runs.nosuch.methods": ["acs"]}, "solvers.runs: nosuch is not a source"),
    ({"solvers.runs.lrb.methods": ["nosuch"]}, ": nosuch is not"),
    ({"harder.runs.fashion_clip.methods": ["acs"]}, "harder.runs: fashion_clip is not a source under sources.bench"),
    ({"solvers.protocol": "nosuch"}, ": nosuch is not a key of protocols"),
    ({"tables.table1.methods": ["acs"]}, "a solver takes no anchors"),
    ({"tables.table7.methods": ["acs"]}, "k is a setting neither of sources.bench nor of acs"),
    ({"methods.topk.warm_start": "nosuch"}, ": nosuch is not a key of methods"),
    ({"methods.topk.warm_start": "topk"}, "the chain is a circle (topk -> topk)"),
    ({"methods.relu": {"warm_start": "acs", "init_l0": 8}}, "methods.relu.init_l0: has no meaning with"),
]


def test_solvers_take_real_activations_and_a_configuration_can_leave_out_a_bench_of_the_default():
    change = {"solvers": {"runs": {"lrb": None, "smollm2": {"methods": ["acs"], "seeds": [4]}}}}
    config = validate(merge(BASE, change))
    assert config.solvers.cells(config) == [Cell("smollm2", "acs", "best", "none", 4)]


DISCOVERED = {"n_anchors": 3, "discover": {"method": "acs"}}


DISCOVERIES = [
    ({"anchorings.ground_truth.n_anchors": None}, "ground_truth.n_anchors: expected a number"),
    ({"anchorings.discovered.discover.method": "topk"}, ": topk is not a method that is a solver (acs,"),
    ({"anchorings.discovered.discover.min_cosine": 0}, ": 0 is less than or equal to the minimum of 0"),
    ({"anchorings.discovered.n_anchors": 4000}, "4000 anchors, but only 2048 latents"),
    (
        {"discovery.runs.lrb.methods": ["crosscoder"]},
        "acs finds directions of the input alone, but crosscoder is a crosscoder and needs directions of the",
    ),
    (
        {"anchorings.discovered": DISCOVERED, "methods.acs.pair": "transcoder"},
        "acs finds directions of the target alone; expected a solver with pair sae or crosscoder",
    ),
    ({"methods.acs.pair": "crosscoder", "sources.bench.lrb.n_r": None}, "acs is a crosscoder, but lrb has no target"),
    (
        {"discovery.runs.smollm2": {"methods": ["topk"], "anchorings": ["ground_truth"]}},
        "anchorings.ground_truth: smollm2 has neither true features nor classes to draw anchors from; set discover",
    ),
    ({"discovery.runs.nosuch": {"methods": ["topk"], "anchorings": ["discovered"]}}, "nosuch is not a source"),
    ({"discovery.runs.lrb.anchorings": ["nosuch"]}, "lrb.anchorings: nosuch is not none or a key of anchorings"),
    ({"discovery.runs.lrb.methods": ["nosuch"]}, "lrb.methods: nosuch is not a key of methods"),
]


def test_a_crosscoders_anchors_are_discovered_by_a_crosscoder_and_any_stored_source_will_do():
    change = {
        "methods": {"acs_pair": {"like": "acs", "pair": "crosscoder"}},
        "anchorings": {"pairs": {"n_anchors": None, "discover": {"method": "acs_pair"}}},
        "discovery": {
            "runs": {
                "lrb": {"methods": ["topk", "transcoder", "crosscoder"], "anchorings": ["pairs"]},
                "smollm2": {"methods": ["topk_real"], "anchorings": ["discovered"]},
            }
        },
    }
    config = validate(merge(BASE, change))
    assert config.anchorings["pairs"].discover.min_cosine == 0.9
    assert "discover" not in config.anchorings["ground_truth"].model_dump()


PEER = {"peer": "saelens", "activation": "topk", "k": 16}


def with_peer(table="table7", **settings):
    return {"methods": {"theirs": PEER | settings}, "tables": {table: {"methods": ["theirs"], "anchorings": ["none"]}}}


PEERS = [
    (with_peer(peer="magic"), "methods.theirs.peer"),
    (with_peer(warm_start="acs"), "warm_start: unknown setting"),
    (with_peer("table1", solver="acs"), "peer: unknown setting"),
    (with_peer(peer="sparsify", activation="jumprelu"), "activation of peer sparsify must be one of topk"),
    (with_peer(batch_size=20001), "batch_size 20001 exceeds the source's 20000 train_samples"),
    (merge(with_peer(), {"tables": {"table7": {"anchorings": ["ground_truth"]}}}), "another library takes no anchors"),
    (
        merge(with_peer(), {"tables": {"table7": {"sweep": {"parameter": "lr_decay", "values": [0.1]}}}}),
        "lr_decay is a setting neither of sources.bench nor of theirs",
    ),
]


def with_imported(table="table1", **settings):
    method = {"model": "exported", **settings}
    return {"methods": {"theirs": method}, "tables": {table: {"methods": ["theirs"], "anchorings": ["none"]}}}


def test_an_imported_dictionary_takes_nothing_of_protocols_and_sources():
    config = validate(merge(BASE, with_imported(format="saelens")))
    cells = [cell for cell in config.cells() if config.methods[cell.method].is_imported]
    assert {cell.method for cell in cells} == {"theirs"}
    for cell in cells:
        assert run_settings(config, cell) == ImportConfig(model="exported", format="saelens")


IMPORTED = [
    (with_imported(format="prisma"), "methods.theirs.format"),
    (with_imported(k=8), "k: unknown setting"),
    (with_imported(warm_start="acs"), "warm_start: unknown setting"),
    (with_imported(solver="acs"), "model: unknown setting"),
    (
        merge(with_imported(), {"tables": {"table1": {"anchorings": ["ground_truth"]}}}),
        "an imported dictionary takes no anchors",
    ),
    (
        merge(with_imported("table7"), {"tables": {"table7": {"sweep": {"parameter": "k", "values": [4]}}}}),
        "k is a setting neither of sources.bench nor of theirs",
    ),
]


def with_codes(table="table1", start="topk", **settings):
    method = {"warm_start": start, "search": "posterior", **settings}
    return {"methods": {"codes": method}, "tables": {table: {"methods": ["codes"], "anchorings": ["none"]}}}


CODES = [
    (with_codes(search="magic"), "methods.codes.search"),
    (with_codes(k=8), "k: unknown setting"),
    (with_codes(rounds=3), "rounds must be 0 or at least 4, since the last three add no latent; found 3"),
    (with_codes(start=None), "methods.codes.warm_start: missing; search needs it"),
    (with_codes(start="acs"), "methods.codes.warm_start: acs is no training, which search needs"),
    (with_codes(start="crosscoder"), "search needs pair sae and latents that are never negative, but crosscoder has"),
    (with_codes() | {"tables": {"table1": {"methods": ["codes"]}}}, "codes by search takes no anchors"),
    (with_codes() | {"figures": {"convergence": {"methods": ["codes"]}}}, "has no history of its own; list topk"),
]


def test_codes_by_search_take_nothing_of_protocols_and_sources():
    config = validate(merge(BASE, with_codes(samples=500)))
    cells = [cell for cell in config.cells() if config.methods[cell.method].has_codes]
    assert all(run_settings(config, cell) == CodesConfig(samples=500) for cell in cells)
    assert [start_cell(config, cell) for cell in cells] == [replace(cell, method="topk") for cell in cells] != []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({"sources.clip.mine": CLIP | source}, f"sources.clip.mine.{named(source, message)}")
            for source, message in CLIP_SOURCES
        ),
        *SOLVERS,
        *DISCOVERIES,
        *PEERS,
        *IMPORTED,
        *CODES,
    ],
)
def test_methods_and_sources_that_cannot_be_are_refused(change, message):
    with pytest.raises(ConfigError, match=re.escape(named(change, message))):
        validate(merge(BASE, nested(change)))


def test_the_configuration_of_peers_gives_all_the_same_latents_batches_and_sparsity():
    config = validate(merge(BASE, load_yaml("config/peers.yaml")))
    cells = config.tables["table1"].cells(config)
    runs = {cell.method: run_settings(config, cell).to_dict() for cell in cells}
    assert {settings.get("peer") for settings in runs.values()} == {None, *ARCHITECTURES}
    assert len({(run["n_q"], run["steps"], run["batch_size"]) for run in runs.values()}) == 1
    assert {run["k"] for run in runs.values() if run["activation"] in ("topk", "batchtopk")} == {16}
    assert len({tuple(run["prefixes"]) for run in runs.values() if run["prefixes"]}) == 1
    # our settings in Table 1 of the default
    default = validate(BASE)
    for method in ("topk", "batchtopk", "jumprelu"):
        assert runs[method] == run_settings(default, Cell("lrb", method, "best", "none", 0)).to_dict()


def test_a_source_of_several_layers_is_a_source_for_each():
    each = {"like": "smollm2", "each_layer": [4, 8], "site": "residual_middle", "run": {"n_q": 64}}
    sources = validate(merge(BASE, {"sources": {"language": {"each": each}}})).sources.language
    assert {"each_layer4", "each_layer8"} <= sources.keys()
    assert "each" not in sources
    first = sources["each_layer8"]
    assert (first.layer, first.site, first.one_pass, first.run.n_q) == (8, "residual_middle", "each", 64)
    assert first.model == sources["smollm2"].model


def test_paths_of_an_unknown_architecture_reach_the_source():
    paths = {"blocks": "h", "mlp_output": "mlp.down"}
    change = {"sources": {"language": {"smollm2": {"paths": paths, "site": "mlp_output"}}}}
    source = validate(merge(BASE, change)).sources.language["smollm2"]
    assert (source.paths.blocks, source.paths.mlp_output, source.paths.middle) == ("h", "mlp.down", None)
    assert source.sites["input"].part == "mlp_output"


def test_a_bench_with_fewer_features_than_anchors_divides_them_by_none():
    papers = validate(merge(BASE, load_yaml("config/paper.yaml")))
    assert papers.anchorings["ground_truth"].n_anchors == 100
    assert papers.reference_anchoring("lrb_hierarchy") is None
    assert papers.reference_anchoring("lrb") == "ground_truth"
