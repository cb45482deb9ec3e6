"""A real run of the tiny configuration, in a copy of the checkout that tests may modify."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import REPOSITORY

PARTS = ["Snakefile", "workflow", "profiles", "config", "src", "resources", "environment.yml"]


COMMAND = Path(sysconfig.get_path("scripts"), "snakemake")
# the libraries for a plan, without this package, because each checkout has its own
LIBRARIES = ["snakemake.cli", "snakemake.report.html_reporter", "yte", "smart_open", "numpy", "pandas", "pydantic"]
WARM = REPOSITORY / "workflow/warm.py"
servers = []  # references, because closing their standard input ends them


def environment() -> dict[str, str]:
    """Return the user's environment, without the location of the package."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@cache
def loaded() -> list[str]:
    """Return a command that runs a script in a fork of a process with Snakemake loaded (workflow/warm.py)."""
    command = [sys.executable, WARM, "serve", *LIBRARIES]
    server = subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    servers.append(server)
    return [sys.executable, "-IS", str(WARM), "run", server.stdout.readline().strip()]


def snakemake(
    *arguments: str, where: Path, forked: bool = True, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `snakemake` in a folder: forked, which saves half of a plan's time, or in a new Python."""
    done = subprocess.run(
        [*(loaded() if forked else [sys.executable]), COMMAND, *arguments],
        cwd=where,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


class Plan(NamedTuple):
    """The jobs of a dry run."""

    jobs: list[tuple[str, str]]
    """Rule and wildcards of each job, sorted, because Snakemake orders independent jobs by memory address."""
    text: str

    def rules(self) -> set[str]:
        return {rule for rule, _ in self.jobs}

    def of(self, rule: str) -> list[str]:
        return sorted(wildcards for name, wildcards in self.jobs if name == rule)


class Checkout:
    """A copy of the repository's pipeline, in which to run Snakemake."""

    output = ""
    """Snakemake's output in the run that a fixture made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        for part in PARTS:
            source = REPOSITORY / part
            # caches of Python and numba stay valid in a copy and save 20 s, except files that are being written
            ignore = shutil.ignore_patterns("*.pyc.*", "*.tmp.*", "*.egg-info")
            if source.is_dir():
                shutil.copytree(source, path / part, symlinks=True, ignore=ignore)
            else:
                shutil.copy2(source, path / part)

    def snakemake(
        self, *arguments: str, change: Any = None, base: str = "tiny", where: Path | None = None, **how: bool
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on a configuration with a change laid over it."""
        where = where or self.path
        (where / "change.yaml").write_text(yaml.safe_dump(change or {}))
        files = ["--configfile", f"config/{base}.yaml", "change.yaml"]
        return snakemake(*arguments, "--cores", "2", *files, where=where, **how)

    def plan(self, *arguments: str, change: Any = None, base: str = "tiny", where: Path | None = None) -> Plan:
        """Return the jobs that Snakemake plans."""
        return read_plan(self.snakemake(*arguments, "-n", change=change, base=base, where=where).stdout)

    def python(self, *arguments: object) -> str:
        """Run Python with the packages and scripts of the checkout, and return its output."""
        folders = [*(self.path / name for name in ("src", "workflow", "workflow/scripts")), REPOSITORY]
        path = {"PYTHONPATH": os.pathsep.join(map(str, folders))}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.path, env=os.environ | path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def read_plan(text: str) -> Plan:
    """Parse the output of a dry run."""
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", text, flags=re.MULTILINE)
    rules = [(rule, "".join(re.findall(r"wildcards: (.*)", body))) for rule, body in jobs]
    return Plan(sorted((rule, wildcards) for rule, wildcards in rules if rule != "all"), text)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """The pipeline in a fresh checkout."""
    return Checkout(tmp_path_factory.mktemp("new") / "sdl core")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """The tiny pipeline after a complete run. Tests must leave it unchanged."""
    checkout = Checkout(tmp_path_factory.mktemp("a folder") / "sdl core")
    checkout.output = checkout.snakemake(forked=False).stdout
    return checkout
