"""Every rule names its environment, and `--use-conda` runs rules in it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.workflow import pretended_conda
from tests.workflow.conftest import Checkout

RULES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))


def rules_of(text):
    """Return the rules of a file by name, each with its text."""
    parts = re.split(r"^ *rule(?: (\w+):|:\n +name:\n +(.+))$", text, flags=re.MULTILINE)[1:]
    return {
        name or written_name: body
        for name, written_name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_every_rule_that_runs_a_command_names_its_environment(file):
    without = [
        name
        for name, text in rules_of(file.read_text()).items()
        if re.search(r"^ *shell:", text, flags=re.MULTILINE)
        and not re.search(r"^ *conda:\n *(PEERS_)?ENVIRONMENT$", text, flags=re.MULTILINE)
    ]
    assert without == []


def test_the_rules_of_all_files_are_read():
    names = [name for file in RULES for name in rules_of(file.read_text())]
    assert {"train", "evaluate", 'f"make_{product_name}"', "report", "fetch"} <= set(names)


TARGETS = ["results/tiny/runs/lrb/topk/best/none/seed0/metrics.json", "results/tiny/tables/table3.csv"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A run, from the bench to its metrics, and a table after --use-conda."""
    folder = tmp_path_factory.mktemp("conda")
    checkout = Checkout(folder / "sdl core")
    conda = pretended_conda.install(folder / "conda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{conda}:{os.environ['PATH']}")
        checkout.snakemake(*TARGETS, "--use-conda")
    checkout.activated = (folder / "conda/activated").read_text().splitlines()
    return checkout


@pytest.mark.slow
def test_jobs_run_in_their_conda_environment(checkout):
    (environment,) = checkout.path.glob(".snakemake/conda/*_")
    jobs = checkout.plan(*TARGETS, "--forceall").jobs
    assert {rule for rule, _ in jobs} == {"feature_matrix", "samples", "anchors", "train", "evaluate", "make_table3"}
    assert checkout.activated == [str(environment)] * len(jobs)
    assert all((checkout.path / target).exists() for target in TARGETS)


@pytest.mark.slow
def test_the_environment_holds_what_every_stage_imports_and_the_package_comes_from_the_checkout(checkout):
    (environment,) = checkout.path.glob(".snakemake/conda/*_")
    code = """if True:
        import importlib, pathlib, pkgutil, runpy, sys
        for script in sorted(pathlib.Path("workflow/scripts").glob("*.py")):
            runpy.run_path(str(script), run_name="imported")
        import sdlstudy.products
        for module in pkgutil.iter_modules(sdlstudy.products.__path__):
            importlib.import_module(f"sdlstudy.products.{module.name}")
        for module in ["accelerate", "datasets", "gguf", "open_clip", "pyarrow", "torchvision", "transformers"]:
            importlib.import_module(module)
        import sdlcore
        print(sys.prefix, sdlcore.__file__, sep="\\n")
    """
    command = [str(environment / "bin/python"), "-c", code]
    path = os.pathsep.join(str(checkout.path / folder) for folder in ("src", "workflow"))
    done = subprocess.run(
        command, cwd=checkout.path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    prefix, package = done.stdout.splitlines()
    assert Path(prefix) == environment
    assert Path(package).is_relative_to(checkout.path / "src")


@pytest.mark.slow
def test_without_conda_the_error_says_so(tmp_path):
    checkout = Checkout(tmp_path / "sdl core")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/usr/bin:/bin")
        done = checkout.snakemake("--use-conda", check=False)
    assert done.returncode != 0
    assert "Is conda installed" in done.stdout
