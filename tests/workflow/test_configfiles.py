"""The files that are checked before Snakemake starts."""

import argparse
import runpy

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    "line",
    [
        *("", "-n table1 --cores 2", "--configfile a.yaml", "table1 --configfile a.yaml b.yaml --cores 2"),
        *("--configfiles a.yaml -n b.yaml", "--configfile=a.yaml table1"),
        *("--configfile a.yaml --configfile b.yaml c.yaml", "--configfile a.yaml -- table1"),
        *("--config name=x --configfile config/tiny.yaml",),
    ],
)
def test_the_files_are_those_that_snakemakes_parser_finds(line: str):
    named = runpy.run_path(str(REPOSITORY / "workflow/configfiles.py"))["named"]
    snakemakes = argparse.ArgumentParser(allow_abbrev=False)
    snakemakes.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    assert named(line.split()) == snakemakes.parse_known_args(line.split())[0].configfile


def test_a_target_among_configuration_files_is_refused_with_its_place(tmp_path):
    main = runpy.run_path(str(REPOSITORY / "workflow/configfiles.py"))["main"]
    (tmp_path / "a.yaml").write_text("name: a\n")
    for word, message in (("table1", "name it before --configfile"), ("b.yaml", "b.yaml: cannot be read")):
        with pytest.raises(SystemExit, match=message):
            main(["--configfile", str(tmp_path / "a.yaml"), str(tmp_path / word)])
