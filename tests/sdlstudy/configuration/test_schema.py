"""The JSON schema of configurations equals the committed file, agrees with the models, and describes every key."""

import jsonschema

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.interop.settings import ImportConfig
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.configuration.loading import load_yaml
from sdlstudy.configuration.schema import FILE, as_yaml, published, schema
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY

SCHEMA = schema()
BASE = load_yaml(REPOSITORY / "config/config.yaml")


def test_the_committed_schema_is_that_of_the_models():
    written = (REPOSITORY / FILE).read_text(encoding="utf-8")
    assert written == as_yaml(), "run: python -m sdlstudy.configuration.schema"


def test_it_is_a_schema_by_which_others_judge_as_the_models_do():
    jsonschema.Draft202012Validator.check_schema(published())
    validator = jsonschema.Draft202012Validator(published())
    for path in sorted((REPOSITORY / "config").glob("*.yaml")):
        assert list(validator.iter_errors(merge(BASE, load_yaml(path)))) == [], path.name
    for wrong in (
        {"seed": 1},
        {"seeds": [1, 1]},
        {"methods": {"topk": {"k": 0}}},
        {"methods": {"Top K": {}}},
        {"tables": {"table3": {"methods": ["topk"]}}},
        {"tables": {"table9": {"source": "lrb", "methods": ["topk"]}}},
        {"sources": {"bench": {"lrb": {"sparsity": 1}}}},
        {"sources": {"language": {"mine": {"layer": 3}}}},
    ):
        assert not validator.is_valid(merge(BASE, wrong)), wrong


def test_settings_that_plugins_extend_are_open_beside_plugins():
    validator = jsonschema.Draft202012Validator(published())
    change = {"methods": {"soft": {"activation": "soft_topk", "shrink": 0.1}}}
    assert not validator.is_valid(merge(BASE, change))
    assert validator.is_valid(merge(BASE, {"plugins": ["my_method"], **change}))
    assert not validator.is_valid(merge(BASE, {"plugins": ["my_method"], "seeds": [1, 1], **change}))


def test_every_key_is_described_or_speaks_for_itself():
    undescribed = {
        f"{group}.{key}"
        for group, part in SCHEMA["$defs"].items()
        for key, value in part.get("properties", {}).items()
        if "description" not in value and "$ref" not in str(value)
    }
    assert not undescribed


def test_settings_of_runs_are_those_of_their_classes_with_their_defaults():
    run, method = (SCHEMA["$defs"][name]["properties"] for name in ("Run", "Method"))
    of_anchorings = {"lambda_anchor", "anchor_form", "anchor_until", "anchor_fall", "anchor_cosine"}
    assert run.keys() == Config().to_dict().keys() - of_anchorings
    kinds = (Config(), SolverConfig(), PeerConfig(), ImportConfig(), CodesConfig())
    settings = {name for kind in kinds for name in kind.to_dict()}
    assert method.keys() == settings - of_anchorings | {"warm_start", "like"}
    assert method["batch_size"] == {
        "description": "Samples per step. For solvers: Samples per step, at most the whole store. "
        "[Default: 1024 for trainings, 8192 for solvers, 1024 for other libraries]",
        "type": "integer",
        "maximum": 10**9,
        "minimum": 1,
    }
    assert all("[Default: " in part["description"] for part in run.values())
