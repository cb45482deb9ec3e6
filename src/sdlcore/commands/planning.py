"""Plan what a pipeline takes."""

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
    """Say what the pipeline in this folder would take, and what of it is left: jobs, disk, memory and hours.

    Args:
        product: a table or figure, such as table1; everything if left out
        configfile: configurations, the last of which count most
    """
    if product and Path(product).suffix in (".yaml", ".yml"):
        raise ValueError(f"{product} is a configuration; write --configfile {product}")
    if not Path("Snakefile").is_file():
        raise ValueError("no Snakefile here; run this in a clone of sdlcore, or in a folder whose workflow imports it")
    files = ["--configfile", *map(str, configfile)] if configfile else []
    target = f"plan_{product}" if product else "plan"
    done = subprocess.run([sys.executable, "-m", "snakemake", target, "--cores", "1", "--quiet", *QUIET, *files])
    if done.returncode:
        raise SystemExit(done.returncode)
