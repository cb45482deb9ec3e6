"""A replacement for conda in tests, for machines without a channel: it answers only Snakemake's requests.

An environment that it makes is real in what matters here: an interpreter of its own, which finds the packages that the
environment's file names, in versions that the file allows, with what they need, and no others. They are not installed
but linked from the interpreter that runs the tests.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement

PREFIX = Path(__file__).parents[1]

# the script that Snakemake sources before each job; it leaves a line for tests to count
ACTIVATE = """\
export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"
echo "$1" >> "${BASH_SOURCE%/bin/activate}/activated"
"""


def install(folder: Path) -> Path:
    """Write such a conda to a folder, and return the folder for the path."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(ACTIVATE)
    conda = binaries / "conda"
    conda.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
    conda.chmod(0o755)
    return binaries


def create(file: Path, prefix: Path) -> None:
    *conda, last = yaml.safe_load(file.read_text())["dependencies"]
    assert [name.partition("=")[0] for name in conda] == ["python", "pip"], f"{file}: no channel here has {conda}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    (packages,) = prefix.glob("lib/python*/site-packages")
    linked: set[str] = set()
    for requirement in last["pip"]:
        link(Requirement(requirement), packages, linked)


def link(requirement: Requirement, packages: Path, linked: set[str]) -> None:
    """Link a package and its requirements, unless it is there."""
    distribution = importlib.metadata.distribution(requirement.name)
    name = distribution.metadata["Name"]
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        raise SystemExit(f"{requirement} is asked for, {distribution.version} is here")
    if name not in linked:
        linked.add(name)
        for top in {file.parts[0] for file in distribution.files or [] if ".." not in file.parts}:
            target = packages / top
            if not target.exists():
                target.symlink_to(distribution.locate_file(top))
    for needed in map(Requirement, distribution.requires or []):
        extras = requirement.extras or {""}
        required = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
        if required and (needed.name, *needed.extras) not in linked:
            linked.add((needed.name, *needed.extras))
            link(needed, packages, linked)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": str(PREFIX), "platform": "linux-64"}))
        case ["--version"]:
            print("conda 26.7.1")
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            create(Path(options[options.index("--file") + 1]), Path(options[options.index("--prefix") + 1]))
        case ["clean", *_]:
            pass
        case _:
            raise SystemExit(f"what stands in for conda does not know: {' '.join(arguments)}")


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1:])
