"""Measure the cost of planning and scheduling many runs: `python -m benchmarks.planning [RUNS ...]`.

The output is CPU seconds of `snakemake -n`, with no file and with all files present, and of running all jobs when each
job only creates its files. The latter is the cost of Snakemake, its shells and starting Python. Jobs run only for the
first number of runs. Wall-clock time is printed as well, for an idle machine.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

REPOSITORY = Path(__file__).parents[1]
RUNS = (1000, 10_000)
TABLE1_RUNS = 7 * 2 * 2
"""Runs of Table 1 for each seed: methods, protocols, anchorings."""

# Paths among a job's arguments that do not exist are its outputs, and --out is the folder of a run. Snakemake has made
# the folders of outputs, unlike the folders in the pattern of finished runs.
STUB = """
import sys
from pathlib import Path

for option, word in zip(sys.argv, sys.argv[1:]):
    names = ("model.safetensors", "config.json", "history.csv") if option == "--out" else ("",)
    for path in (Path(word, name) for name in names):
        if word.startswith("results/") and path.parent.is_dir() and not path.exists():
            path.write_text("")
"""
# for a product, the product's class lists its outputs
PRODUCT_STUB = """
import sys
from importlib import import_module
from pathlib import Path

from sdlstudy.settings.files import Files
from sdlstudy.settings.study import PartialStudy

given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
module, _, kind = given["--product"].rpartition(".")
product = getattr(import_module(module), kind).model_validate_json(given["--settings"])
for path in product.outputs(given["--name"], Files(PartialStudy.model_validate_json(given["--study"]))):
    Path(path).write_text("")
"""


class Cost(NamedTuple):
    """Resources used by a command and all of its child processes."""

    cpu_seconds: float
    seconds: float
    peak_gb: float
    """Peak resident memory of its largest process."""
    output: str


def configuration(runs: int) -> dict:
    """Return a configuration whose Table 1 requests at least that many runs."""
    tables = dict.fromkeys(("table2", "table4", "table5", "table6", "table7"))
    figures = dict.fromkeys(("figure4", "figure5", "figure6", "convergence", "figure8", "figure9", "figure10"))
    seeds = list(range(-(-runs // TABLE1_RUNS)))
    return {"name": "many", "seeds": seeds, "tables": tables, "figures": figures, "solvers": None}


def checkout(folder: Path) -> Path:
    """Copy the pipeline, with scripts that only create their files."""
    for part in ("Snakefile", "workflow", "profiles", "config", "resources", "environment.yml"):
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, symlinks=True)
        else:
            shutil.copy2(source, folder / part)
    (folder / "src").symlink_to(REPOSITORY / "src")
    for script in (folder / "workflow/scripts").glob("*.py"):
        script.write_text(PRODUCT_STUB if script.stem == "product" else STUB)
    return folder


def cost(folder: Path, snakefile: Path, *options: str) -> Cost:
    """Run Snakemake on a folder's configuration, and measure it."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", "many.yaml"]
    command += ["--cores", "2", *options]
    start = time.perf_counter()
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{text[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, seconds, usage.ru_maxrss / 2**20, text)


def show(what: str, found: Cost, jobs: int) -> None:
    print(
        f"{what:<42}{found.cpu_seconds:8.1f} s of CPU ({1e3 * found.cpu_seconds / jobs:6.1f} ms a job),"
        f" {found.seconds:8.1f} s, {found.peak_gb:.2f} GB",
        flush=True,
    )


def main(numbers: list[int]) -> None:
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            folder = checkout(Path(name))
            (folder / "many.yaml").write_text(yaml.safe_dump(configuration(number)))
            plan = cost(folder, REPOSITORY / "Snakefile", "-n", "--quiet", "rules")
            jobs = int(re.findall(r"^total +(\d+)", plan.output, re.MULTILINE)[-1])
            show(f"{number} runs, {jobs} jobs: planned", plan, jobs)
            if number == numbers[0]:
                show("run, each job making its files alone", cost(folder, folder / "Snakefile", "--quiet", "all"), jobs)
                show("planned again, with nothing to do", cost(folder, folder / "Snakefile", "-n"), jobs)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(RUNS))
