"""No name in a configuration leads out of the results, and Snakemake refuses a wrong file in a sentence."""

import copy
import re
from pathlib import Path

import pytest

from sdlstudy.configuration.loading import ConfigError, load_yaml, validate
from tests.conftest import REPOSITORY
from tests.workflow.conftest import snakemake

DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")


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
    "not YAML": (b"name: [", "Config file is not valid JSON or YAML"),
    "a list": (b"- name: quick", "Config file must be given as JSON or YAML with keys at top level"),
    "an object of Python's": (
        b"name: !!python/object/apply:os.system ['touch harm']",
        "Config file is not valid JSON or YAML",
    ),
    "a wrong type": (b"{name: mine, seeds: three}", "seeds: Input should be a valid list"),
    "an unknown key": (b"{name: mine, sead: [0]}", "sead: unknown key; did you mean seeds?"),
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
