"""Estimate the jobs, disk, memory and hours of a pipeline."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro

QUIET = ("progress", "rules", "host", "reason")
"""What Snakemake is not to say beside a plan."""


def plan(
    product: Annotated[str | None, tyro.conf.Positional] = None,
    configfile: tuple[Path, ...] = (),
) -> None:
    """Estimate the jobs, disk, memory and hours of the pipeline in this folder, and of the part that is left.

    Args:
        product: a table or figure, such as table1; everything if left out
        configfile: configurations; later ones override earlier ones
    """
    if product and Path(product).suffix in (".yaml", ".yml"):
        raise ValueError(f"{product} is a configuration; write --configfile {product}")
    if not Path("Snakefile").is_file():
        raise ValueError("no Snakefile here; run this in a clone of sdlcore, or in a folder whose workflow imports it")
    files = ["--configfile", *map(str, configfile)] if configfile else []
    target = f"plan_{product}" if product else "plan"
    process = subprocess.run([sys.executable, "-m", "snakemake", target, "--cores", "1", "--quiet", *QUIET, *files])
    if process.returncode:
        raise SystemExit(process.returncode)
