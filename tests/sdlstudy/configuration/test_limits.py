"""Invalid configuration files: any parser error becomes a message with the file, and nothing grows without bound."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.storage.yaml_files import ConfigError, load_yaml, parse
from sdlstudy.configuration.limits import DEEPEST, MOST_ITEMS, mapping, unbounded

LISTS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MAPPINGS = "a0: &a0 {p: x, q: x}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 30))
MERGES = "a0: &a0 {p0: x, q0: x}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], p{i}: x}}\n" for i in range(1, 12)
)

REFUSED = {
    "a key twice": ("name: x\nseeds: [0]\nname: y\n", 'the key name occurs twice; leave one out in "text", line 3'),
    "a number twice, spelt apart": ("0.1: a\n0.10: b\n", "the key 0.1 occurs twice"),
    "a key of JSON twice": ('{"name": "x", "seeds": {"a": 1, "a": 2}}', "the key a occurs twice"),
    "lists of lists by aliases": (LISTS, "more than 20,000 values"),
    "mappings of mappings by aliases": (MAPPINGS, "more than 20,000 values"),
    "a list that holds itself": ("seeds: &a [*a]", r"seeds[0][0]: nested more than 40 deep; does an alias"),
    "many brackets": ("seeds: " + "[" * 100_000, "not readable as YAML (maximum recursion depth"),
    "Latin-1": ("name: x\nwandb: café\n".encode("latin-1"), "not readable as YAML"),
    "a month that is none": ("name: x\nwandb: 2020-13-45\n", "not readable as YAML (month must be"),
    "an object of Python's": ("name: !!python/object/apply:os.system ['x']", "could not determine a constructor"),
    "a key that is a list": ("? [a, b]\n: 1\n", "not readable as YAML"),
    "a key that is a number": ("methods: {1: {}}", "methods: expected keys that are text, found 1"),
    "a bracket that is never closed": (
        "name: x\nseeds: [0, 1\nmethods: {}\n",
        "expected ',' or ']', but got ':' in \"text\", line 3",
    ),
    "a list": ("- name: quick", "expected keys with values"),
    "nothing": ("", "expected keys with values, found None"),
    "code for Snakemake": ("__use_yte__: true\nname: ?1", "__use_yte__: makes Snakemake run Python code"),
    "deep YAML": ("seeds: " + "[" * 50 + "]" * 50, "nested more than 40 deep"),
    "a list of too many": (f"seeds: {list(range(MOST_ITEMS + 1))}", "seeds: 1001 items, expected at most 1000"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_no_configuration_is_refused_by_its_name_and_at_once(what):
    content, sentence = REFUSED[what]
    start = time.process_time()
    with pytest.raises(ConfigError) as refused:
        mapping(parse(content, "text"), "text")
    assert time.process_time() - start < 8  # some take 0.5 s on an idle machine, none grows
    assert str(refused.value).startswith("configuration refused:\n  text: ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(("text", "number"), [("1e-3", 1e-3), ("5E4", 5e4), ("-.5e+2", -50.0), ("2.e1", 20.0)])
def test_numbers_with_an_exponent_are_numbers_as_in_yaml_1_2(text, number):
    assert parse(f"a: {text}") == {"a": number}


@pytest.mark.parametrize(
    "content", ["a: &x {b: 1}\nc: {<<: *x, b: 2}\n", '{"a": {"b": 1},\n"c": {"b": 2}}', "{a: {b: 1}, c: {b: 2}}"]
)
def test_yaml_with_merges_and_json_are_read(content):
    assert mapping(parse(content), "text") == {"a": {"b": 1}, "c": {"b": 2}}


def test_merges_of_merges_are_no_more_than_their_keys():
    assert len(mapping(parse(MERGES), "text")["a11"]) == 13


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("{}[]&*a:!<>'\"-?|\n 01.e", max_size=40)))
def test_any_text_is_read_or_refused_by_its_name(content):
    refused = ""
    try:
        tree = mapping(parse(content, "some.yaml"), "some.yaml")
    except ConfigError as error:
        refused = str(error)
    assert "some.yaml: " in refused or list(unbounded(tree)) == []


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("a\nb", "expected text on one line"),
        ("a\x00", "expected text on one line"),
        ("a\x1b[2J", "expected text on one line"),
        ("\ud800", "expected text on one line"),
        ("x" * 1001, "expected text with at most 1000 characters"),
        ("d/" + "é" * 101, "expected text whose parts between slashes have at most 200 bytes"),
        ("-rf", "expected text that does not begin with a dash"),
        ("{config[wandb]}", "expected text without braces"),
        ("a}", "expected text without braces"),
        ("data/<results>", "expected text without braces and <name>"),
        (10**30, r"expected a number below 2\^63"),
        (-(10**30), r"expected a number below 2\^63"),
        (10**5000, r"expected a number below 2\^63"),
    ],
    ids=lambda value: f"{value:.30}".encode(errors="replace").decode() if isinstance(value, str) else "number",
)
def test_values_unsafe_in_a_path_shell_or_loop_are_refused_by_their_key(value, sentence):
    with pytest.raises(ConfigError, match=rf"f: a\.b\[0\]: {sentence}"):
        mapping({"a": {"b": [value]}}, "f")
    if isinstance(value, str):
        with pytest.raises(ConfigError, match="f: .*expected a key " + sentence.removeprefix("expected text ")):
            mapping({value: 1}, "f")


@pytest.mark.parametrize(
    "value", ["my data/x.npy", "it's", '"', "$(x)", "`x`", "a;b|c&d", "é#1", "~", "a < b > 2", True, 0]
)
def test_what_quoting_takes_care_of_is_let_be(value):
    assert list(unbounded({"a": value})) == []


def test_the_error_for_a_long_value_is_short():
    with pytest.raises(ConfigError) as refused:
        mapping(parse(str(list(range(900)))), "text")
    assert len(str(refused.value)) < 400


def test_configurations_are_far_from_the_bounds():
    for path in Path("config").glob("*.yaml"):
        tree = mapping(load_yaml(path), str(path))

        def depth(node):
            children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            return 1 + max(map(depth, children), default=0)

        assert depth(tree) < DEEPEST / 2
