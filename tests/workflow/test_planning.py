"""Planning is quick: what the rules import before a job runs loads neither torch nor HDF5."""

import os
import re
import subprocess
import sys

from tests.conftest import REPOSITORY

FUNCTIONS = sorted((REPOSITORY / "workflow/functions").glob("*.smk"))


def test_a_plan_loads_neither_torch_nor_hdf5():
    lines = [line for file in FUNCTIONS for line in file.read_text().splitlines()]
    imports = "\n".join(line for line in lines if re.match(r"from (sdlcore|sdlstudy)\b[^(]*$", line))
    assert "sdlcore.config" in imports
    path = os.pathsep.join(str(REPOSITORY / folder) for folder in ("src", "workflow"))
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\nimport sys\nprint(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "h5py", "seaborn", "matplotlib.pyplot"} & set(done.stdout.split())
