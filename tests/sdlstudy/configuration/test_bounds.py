"""Every text, name and number of a configuration is bounded; tests derive from the schema, so new keys are covered."""

import copy
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, validate
from sdlstudy.configuration.schema import schema
from sdlstudy.settings.trees import merge

SCHEMA = schema()
BASE = load_yaml("config/config.yaml")
# a source of each kind, and everything that a configuration can request
EVERYTHING = {
    "name": "everything",
    "wandb": "project",
    "sources": {
        "clip": {
            "photos": {"images": "photos", "model": "arch.json", "pretrained": "w.safetensors", "test_images": "t"}
        },
        "language": {"mine": {"model": "models/mine", "text": "texts", "revision": "main"}},
        "file": {"arrays": {"input": "x.npy", "labels": "l.npy", "class_names": "names.txt", "target": "y.npy"}},
    },
    "harder": {"runs": {"lrb": {"methods": ["acs"]}}},
    "anchoring_map": {
        "anchorings": ["ground_truth"],
        "runs": {"lrb": {"methods": ["topk"], "instead": {"ground_truth": "discovered"}}},
    },
    "frontier": {"source": "lrb", "methods": ["acs"], "panels": {"n": {"values": [99], "methods": ["acs"]}}},
}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with references resolved; for "null or X", return X."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/")[-1]] | {k: v for k, v in schema.items() if k != "$ref"}
    return schema


def kinds(schema: dict[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def texts(tree: Any, schema: dict[str, Any], path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of each place for a text of the user's choice: values, items of lists, and names."""
    schema = resolved(schema)
    if "string" in kinds(schema) and "enum" not in schema:
        yield path
    if isinstance(tree, dict) and isinstance(schema.get("additionalProperties"), dict):
        yield (*path, None)  # a name chosen by the user
    if isinstance(tree, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in tree or "string" in kinds(resolved(inner)):
                yield from texts(tree.get(key), inner, (*path, key))
        more = schema.get("additionalProperties")
        for key in (
            [key for key in tree if key not in schema.get("properties", {})][:1] if isinstance(more, dict) else []
        ):
            yield from texts(tree[key], more, (*path, key))
    if isinstance(tree, list) and "items" in schema:
        yield from texts(tree[0], schema["items"], (*path, 0))


WHOLE = merge(BASE, EVERYTHING)
# the first source of a kind would be the default's, whose texts come from wheels
FIRST = copy.deepcopy(WHOLE)
for group in FIRST["sources"].values():
    for name in list(group)[:-1]:
        del group[name]
PLACES = sorted(set(texts(FIRST, SCHEMA)), key=str)
BAD = {
    **{"an expression of Snakemake's": "{config[wandb]}", "a wildcard": "{source}", "an open brace": "a{b"},
    **{"a pathvar": "<results>", "a line break": "a\nb", "a line break at the end": "topk\n"},
    **{"a carriage return": "a\r", "a null byte": "a\x00b", "an escape sequence": "\x1b[2J"},
    **{"half a character": "\ud800", "an option": "--trust-remote-code", "too much": "x/" * 600},
    **{"too long a name": "x" * 201},
}


def put(config: dict[str, Any], path: tuple, value: str) -> dict[str, Any]:
    """Return the configuration with a text in some place; a name is given to the first entry."""
    config = copy.deepcopy(config)
    *parents, key = path
    inside = config
    for parent in parents:
        inside = inside[parent]
    if key is None:
        inside[value] = next(iter(inside.values()), {})
    else:
        inside[key] = value
    return config


def test_the_places_of_texts_are_those_of_the_configuration():
    assert len(PLACES) > 60
    for path in [("cache",), ("wandb",), ("peers_python",), ("name",), ("methods", None), ("protocols", None)]:
        assert path in PLACES
    assert ("sources", "language", "mine", "text") in PLACES
    assert ("sources", "file", "arrays", "class_names") in PLACES
    assert ("tables", "table1", "methods", 0) in PLACES
    validate(WHOLE)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_no_text_that_is_formatted_twice_or_breaks_a_line_gets_into_a_path_or_a_command(path):
    led = re.escape(".".join(str(part) for part in path if isinstance(part, str)))
    for what, value in BAD.items():
        with pytest.raises(ConfigError, match=rf"(?m)^  {led}") as refused:
            configure(put(WHOLE, path, value), BASE)
        assert "\n  " in str(refused.value), what


NAMES = [path for path in PLACES if path == ("name",) or (path[-1] is None and path[0] != "tables")]


@pytest.mark.parametrize("path", NAMES, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize(
    "name", ["a b", "it's", '"', "$(x)", "a;b", "é", "A", "../a", ".", "", "a/b", "a" * 51, "topk\n"]
)
def test_a_name_is_letters_digits_and_underscores_to_its_end(path, name):
    with pytest.raises(ConfigError):
        validate(put(WHOLE, path, name))


def every(schema: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Yield every mapping in a schema."""
    if isinstance(schema, dict):
        yield path, schema
        for key, inner in schema.items():
            yield from every(inner, (*path, key))


def test_no_pattern_ends_before_a_line_break():
    examples = ["topk", "table1", "own_mine", "0" * 64, "data/x.npy", "x.h5#key"]
    patterns = {part["pattern"] for _, part in every(SCHEMA) if isinstance(part.get("pattern"), str)}
    assert len(patterns) >= 4
    for pattern in patterns:
        fitting = [example for example in examples if re.search(pattern, example)]
        assert fitting, pattern
        assert not any(re.search(pattern, f"{example}\n") for example in fitting), pattern


def test_every_integer_and_every_list_of_the_schema_is_bounded():
    for path, part in every(SCHEMA):
        if "integer" in kinds(part):
            assert part.get("minimum") is not None, path
            assert part.get("maximum", 2**63) < 2**63, path


@pytest.mark.parametrize(
    "number", [10**9 + 1, 2**63 - 1, 10**21, 10**5000, -(10**21)], ids=lambda n: f"{n.bit_length()} bits"
)
@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("sources", "bench", "lrb"), "n"),
        (("sources", "bench", "lrb"), "n_p"),
        (("sources", "bench", "lrb", "hierarchy"), "children"),
        (("sources", "language", "smollm2"), "shards"),
        (("sources", "clip", "fashion_clip"), "workers"),
        (("processes",), None),
        (("figures", "figure9"), "images"),
    ],
)
def test_a_number_that_something_loops_over_is_refused_at_once(path, key, number):
    change: Any = number
    for part in reversed([*path, *([key] if key else [])]):
        change = {part: change}
    if "hierarchy" in path:
        change["sources"]["bench"]["lrb"]["hierarchy"]["parents"] = 1
    start = time.process_time()
    with pytest.raises(ConfigError, match=rf"  {'.'.join([*path, *([key] if key else [])])}: "):
        configure(change | {"name": "x"}, BASE)
    assert time.process_time() - start < 5


MANY = {f"m{i}": {"like": "topk"} for i in range(300)}
CHAIN = {"methods": {"m0": {"like": "topk"}} | {f"m{i}": {"like": f"m{i - 1}"} for i in range(1, 900)}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (CHAIN, r"methods\.m899\.like: the chain has more than 20 links"),
    ],
)
def test_runs_and_chains_are_counted_before_they_are_followed(change, message):
    with pytest.raises(ConfigError, match=message):
        configure({"name": "x", **change}, BASE)


def test_as_many_runs_as_may_be_are_checked_in_seconds():
    methods, protocols = {f"m{i}": {"like": "topk"} for i in range(250)}, {f"p{i}": {} for i in range(8)}
    table = {"methods": list(methods), "protocols": list(protocols), "anchorings": ["none", "ground_truth"]}
    change = {"name": "x", "methods": methods, "protocols": protocols, "tables": {"table1": table}}
    start = time.process_time()
    configure(change, BASE)  # 12,000 runs; comparing each with each would take half a minute
    assert time.process_time() - start < 10


@pytest.mark.parametrize("config", [{"seeds": [0]}, {"methods": {"topk": {"k": 4}}}, {"tables": {"table1": None}}])
def test_a_configuration_without_a_name_would_overwrite_the_defaults_results(config):
    with pytest.raises(
        ConfigError, match=r"name: missing; .* results/quick\. Set it in a file .* or by --config name="
    ):
        configure(config, BASE)
    with pytest.raises(ConfigError, match=r"name: quick is the default's; .* Set another in a file"):
        configure(config | {"name": "quick"}, BASE)
    assert configure(config | {"name": "mine"}, BASE).name == "mine"
    assert configure(merge(BASE, config), BASE).name == "quick"  # also if the default's file is named


def test_settings_of_where_and_how_to_run_need_no_name():
    config = {"device": "cpu", "processes": 2, "split": "samples", "tensorboard": False, "cache": "/tmp/cache"}
    assert configure(config, BASE).name == "quick"
    assert configure({}, BASE).model_dump() == validate(BASE).model_dump()
