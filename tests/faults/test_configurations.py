"""Snakemake refuses a wrong configuration file in a sentence, and makes nothing."""

import re

import pytest

from tests.conftest import REPOSITORY
from tests.workflow.conftest import snakemake

FILES = {
    "an object of Python's": (
        b"name: !!python/object/apply:os.system ['touch harm']",
        "Config file is not valid JSON or YAML",
    ),
    "an unknown key": (b"{name: mine, sead: [0]}", "sead: unknown setting; did you mean seeds?"),
    "a name with a way out": (b"name: ../elsewhere", r"name: .*\.\./elsewhere"),
}


@pytest.mark.parametrize("what", FILES)
def test_snakemake_refuses_a_wrong_file_in_a_sentence_and_makes_nothing(what, tmp_path):
    content, sentence = FILES[what]
    (tmp_path / "bad.yaml").write_bytes(content)
    table = ["--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1", "table1"]
    done = snakemake(*table, "--configfile", "bad.yaml", where=tmp_path, check=False)
    assert done.returncode != 0
    assert re.search(sentence, done.stdout), done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.yaml", ".snakemake"}
