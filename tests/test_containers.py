"""The recipes for containers agree with each other and with the tested environment. Neither is built here."""

import re
import shlex
import tomllib

import yaml

from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "containers/Dockerfile").read_text()
APPTAINER = (REPOSITORY / "containers/sdlcore.def").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def commands_to_install():
    return re.findall(r"^ *(?:RUN )?(python -m pip install .*)$", DOCKERFILE + APPTAINER, flags=re.MULTILINE)


def copied_by_docker():
    lines = re.findall(r"^COPY (.*)$", DOCKERFILE, flags=re.MULTILINE)
    return sorted(source for line in lines for source in line.split()[:-1])


def copied_by_apptainer():
    section = re.search(r"^%files\n(.*?)^%", APPTAINER, flags=re.MULTILINE | re.DOTALL)[1]
    return sorted(line.split()[0] for line in section.splitlines() if line)


def test_both_install_the_same_from_the_same():
    docker, apptainer = commands_to_install()
    assert docker == apptainer
    assert copied_by_docker() == copied_by_apptainer()
    bases = re.findall(r"^(?:FROM|From:) (.*)$", DOCKERFILE + APPTAINER, flags=re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1


def test_the_interpreter_is_the_one_of_the_conda_environment():
    version = re.search(r"^FROM .*/python:([\d.]+)-", DOCKERFILE, flags=re.MULTILINE)[1]
    assert f"python={version}" in yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]


def test_they_install_what_the_conda_environment_holds_in_the_versions_that_are_tested():
    words = shlex.split(commands_to_install()[0])
    assert words[words.index("--constraint") + 1] == "constraints.txt"
    # tests/test_package.py compares environment.yml with the same extra
    assert words[-1] == ".[workflow]"
    assert "workflow" in PROJECT["optional-dependencies"]
