"""Configurations with mistakes are rejected by the path of a key, or are valid; nothing in between."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlstudy.configuration.loading import ConfigError, load_yaml, validate
from sdlstudy.settings.cells import run_settings
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY
from tests.workflow.conftest import snakemake

DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")
BASES = {"quick": DEFAULT} | {
    name: merge(DEFAULT, load_yaml(REPOSITORY / f"config/{name}.yaml")) for name in ("paper", "tiny", "peers")
}


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of every key and item of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((*path, key), *places(value, (*path, key)))]


PLACES = {name: places(base) for name, base in BASES.items()}
KEYS = sorted({str(key) for paths in PLACES.values() for path in paths for key in path})
NAMES = st.one_of(
    st.sampled_from(KEYS), st.text(max_size=6), st.sampled_from(["../../etc", "a/b", ".", "", "none", "é", "a b"])
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([0, -1, 1, 2**63, 1e-300, 10**30]), NAMES
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=4,
)


@st.composite
def wrong(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a configuration with one or two changes, additions or omissions."""
    name = draw(st.sampled_from(sorted(BASES)))
    config = copy.deepcopy(BASES[name])
    for _ in range(draw(st.integers(1, 2))):
        *parents, key = draw(st.sampled_from(PLACES[name]))
        inside = config
        try:
            for parent in parents:
                inside = inside[parent]
            inside[key]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed it
        if not isinstance(inside, dict | list):
            continue  # or replaced it by text
        match draw(st.sampled_from(["replace", "replace", "remove", "add", "rename"])):
            case "replace":
                inside[key] = draw(VALUES)
            case "remove":
                del inside[key]
            case "add" if isinstance(inside, dict):
                inside[draw(NAMES)] = draw(VALUES)
            case "rename" if isinstance(inside, dict):
                inside[draw(NAMES)] = inside.pop(key)
    return config


@settings(max_examples=5 * settings.default.max_examples)
@given(wrong())
def test_a_changed_configuration_is_valid_or_refused_by_a_key(config: dict[str, Any]):
    try:
        valid = validate(config)
    except ConfigError as error:
        head, *lines = str(error).split("\n")
        assert head == "configuration refused:"
        assert all(re.match(r"  .+: ", line) for line in lines), lines
        return
    # every valid configuration can be planned
    for cell in valid.all_cells():
        steps = "max_steps" if valid.methods[cell.method].is_solver else "steps"
        assert run_settings(valid, cell).to_dict()[steps] >= 1


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "", "a b", "-x", "A"])
@pytest.mark.parametrize(
    "where", [("name",), ("sources", "bench", "lrb"), ("methods", "topk"), ("anchorings", "ground_truth")]
)
def test_no_name_leads_out_of_the_results(name: str, where: tuple):
    config = copy.deepcopy(DEFAULT)
    *parents, key = where
    inside = config
    for parent in parents:
        inside = inside[parent]
    if where == ("name",):
        inside[key] = name
    else:
        inside[name] = inside[key]
    with pytest.raises(ConfigError):
        validate(config)


OFTEN = ("an object of Python's", "a wrong type", "an unknown key")
"""Configuration files in `make test`; Snakemake starts for each."""
FILES = {
    "not YAML": (b"name: [", "bad.yaml: not readable as YAML"),
    "a list": (b"- name: quick", "bad.yaml: expected keys with values"),
    "an object of Python's": (
        b"name: !!python/object/apply:os.system ['touch harm']",
        "bad.yaml: not readable as YAML",
    ),
    "a wrong type": (b"seeds: three", "seeds: expected array"),
    "an unknown key": (b"sead: [0]", "sead: unknown key; did you mean seeds?"),
    "a name with a way out": (b"name: ../elsewhere", r"name: .*\.\./elsewhere"),
    "a method that is not there": (
        b"{name: mine, tables: {table1: {methods: [magic]}}}",
        "tables.table1.methods: magic is not a key",
    ),
}


@pytest.mark.parametrize("what", [pytest.param(what, marks=[pytest.mark.slow] * (what not in OFTEN)) for what in FILES])
def test_snakemake_refuses_a_wrong_file_in_a_sentence_and_makes_nothing(what: str, tmp_path: Path):
    content, sentence = FILES[what]
    (tmp_path / "bad.yaml").write_bytes(content)
    table = ["--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1", "table1"]
    done = snakemake(*table, "--configfile", "bad.yaml", where=tmp_path, check=False)
    assert done.returncode != 0
    assert re.search(sentence, done.stdout), done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.yaml", ".snakemake"}
