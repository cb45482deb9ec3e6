"""Which files the check before Snakemake looks into."""

import argparse
import runpy

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-n table1 --cores 2",
        "--configfile a.yaml",
        "table1 --configfile a.yaml b.yaml --cores 2",
        "--configfiles a.yaml -n b.yaml",
        "--configfile=a.yaml table1",
        "--configfile a.yaml --configfile b.yaml c.yaml",
        "--configfile a.yaml -- table1",
        "--config name=x --configfile config/tiny.yaml",
    ],
)
def test_the_files_are_those_that_snakemakes_parser_finds(line: str):
    named = runpy.run_path(str(REPOSITORY / "workflow/configfiles.py"))["named"]
    snakemakes = argparse.ArgumentParser(allow_abbrev=False)
    snakemakes.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    assert named(line.split()) == snakemakes.parse_known_args(line.split())[0].configfile
