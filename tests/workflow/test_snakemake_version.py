"""The oldest supported Snakemake.

Found by unpacking releases (`pip download --no-deps snakemake==9.11.*`, and so on): 9.11.9 has neither the file
`snakemake/pathvars.py` nor the keyword `pathvars` in its parser, 9.12.0 has both. What else the workflow uses is older,
and a plan of the tiny configuration by 9.12.0 is the same as by the version of constraints.txt. So are its
tables, also where the workflow is imported as a module.
"""

import re
import tomllib

from tests.conftest import REPOSITORY

OLDEST = "9.12"
SNAKEFILE = REPOSITORY / "workflow/Snakefile"
SMK = [SNAKEFILE, *sorted((REPOSITORY / "workflow").glob("*/*.smk"))]


def test_snakefile_and_package_and_documentation_agree_on_the_oldest_snakemake():
    minimum = re.search(r'^min_version\("(.+)"\)', SNAKEFILE.read_text(), flags=re.MULTILINE)
    assert minimum[1] == OLDEST
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"snakemake>={OLDEST},<10" in extras["workflow"]
    assert f"Snakemake {OLDEST} or newer" in (REPOSITORY / "docs/pipeline.md").read_text()
    locked = re.search(r"^snakemake==(\d+)\.(\d+)", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert (int(locked[1]), int(locked[2])) >= tuple(map(int, OLDEST.split(".")))
