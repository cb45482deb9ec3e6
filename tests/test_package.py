import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import REPOSITORY


def names_and_pins(requirements):
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement).groups() for requirement in requirements]
    return {name.lower().replace("_", "-"): pin for name, pin in pairs}


def imported_by(code):
    """Return the modules that are loaded after code ran in a new process."""
    command = [sys.executable, "-c", f"{code}\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, cwd=REPOSITORY)
    return set(done.stdout.split())


def test_a_training_imports_nothing_that_it_does_without():
    code = """if True:
        import runpy, sys, torch
        import sdlcore as sdl
        runpy.run_path("workflow/scripts/train.py")
        sdl.fit(torch.randn(9, 5), activation="topk", k=2, n_q=8, steps=3, batch_size=4, progress=False)
    """
    compilers = {"torch._dynamo", "torch._inductor", "sympy"}
    packages = {"transformers", "matplotlib", "open_clip", "pandas", "PIL", "snakemake"}
    assert not (compilers | packages) & imported_by(code)


def test_importing_the_package_alone_imports_nothing_heavy():
    assert not {"torch", "numpy", "h5py"} & imported_by("import sys, sdlcore")


@pytest.mark.parametrize(
    ("script", "needless"),
    [
        ("samples", {"torch", "pandas"}),
        ("product", {"torch", "seaborn", "scipy.stats"}),
        pytest.param("evaluate", {"pandas", "matplotlib"}, marks=pytest.mark.slow),
    ],
)
def test_stages_that_run_often_load_nothing_that_they_do_without(script, needless):
    assert not needless & imported_by(f"import runpy, sys; runpy.run_path('workflow/scripts/{script}.py')")


def test_the_conda_environment_holds_what_the_pipeline_needs_in_the_tested_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (of_workflow,) = (text for text in extras["workflow"] if text.startswith("sdlcore["))
    parts = [extras[name] for name in ("workflow", *of_workflow.removeprefix("sdlcore[").rstrip("]").split(","))]
    needed = [*project["dependencies"], *(text for part in parts for text in part if text != of_workflow)]
    needed = set(names_and_pins(needed))
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = names_and_pins(environment[-1]["pip"])
    assert pip.keys() == needed
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    tested = names_and_pins(line for line in lines if not line.startswith("#"))
    for name, pin in pip.items():
        # their builds differ by machine, so they are given by range
        ranges = {"torch": ">=2.6,<3", "torchvision": ">=0.21,<1"}
        assert pin == (ranges.get(name) or tested[name]), name


def lines_of(path):
    lines = (REPOSITORY / path).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_environment_of_peers_holds_what_theirs_does_without_conda_in_the_same_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((REPOSITORY / "workflow/envs/peers.yml").read_text())["dependencies"]
    pip = names_and_pins(environment[-1]["pip"])
    required = names_and_pins(lines_of("benchmarks/requirements.txt"))
    assert pip.keys() == {*required, *names_and_pins(project["dependencies"])}
    tested = names_and_pins(lines_of("benchmarks/constraints.txt"))
    for name, pin in pip.items():
        # its builds differ by machine, so it is given by range
        assert pin == (">=2.6,<3" if name == "torch" else required.get(name) or tested[name]), name
    trained, _ = lines_of("benchmarks/requirements-alone.txt")  # the pipeline trains nothing with the second
    assert trained in (REPOSITORY / "workflow/envs/peers.post-deploy.sh").read_text()


def test_no_constraint_names_a_machine():
    text = (REPOSITORY / "constraints.txt").read_text()
    assert not re.search(r"(@|file:|https?:|\+)", text)
