# Environment variables and interpreter of every job.
import os
import shutil
import subprocess
import sys
from shlex import quote

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

# Environment variables of every job. PYTHONPATH makes sdlcore and sdlstudy importable, so environments of rules need not
# have them.
# OMP_WAIT_POLICY=PASSIVE keeps jobs that share cores from spinning against each other, and costs nothing on idle cores.
# DEVICE, TENSORBOARD and WANDB are variables instead of params, so that changing them does not train again.
# FINISHED matches the folders of finished runs of all configurations: a run that is the same is copied from there.
variables = {
    "PYTHONPATH": os.pathsep.join(str(REPOSITORY / folder) for folder in ("src", "workflow")),
    "SCRIPTS": REPOSITORY / "workflow/scripts",
    "DEVICE": study.device,
    "TENSORBOARD": "tensorboard" if study.tensorboard else "",
    "WANDB": study.wandb or "",
    "FINISHED": "results/*/runs/*/*/*/*/*",
    "CACHE": CACHE,
    "PAPER": FILES.paper,
    "OMP_WAIT_POLICY": "PASSIVE",
    "SDLCORE_PLUGINS": os.pathsep.join(study.plugins),
}
# jobs use the interpreter of their conda environment; without conda Snakemake's own, or PEERS_PYTHON
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
variables["PEERS_PYTHON"] = "python" if WITH_CONDA else os.path.relpath(REPOSITORY / study.peers_python)
exports = " ".join(f"{name}={quote(str(value))}" for name, value in variables.items())
if not WITH_CONDA:
    exports += f" PATH={quote(str(Path(sys.executable).parent))}:$PATH"


def begin_jobs(python, preparation=""):
    """Set the prefix of all shell commands: environment variables, and ``python`` as the command for short jobs."""
    train = python
    if study.processes > 1:  # several processes train one dictionary together
        # after "--", torchrun leaves our options alone; otherwise it takes --start for its own --start-method
        train = f"python -m torch.distributed.run --standalone --nproc-per-node {study.processes} --"
    prefix = f"set -euo pipefail; export {exports} PYTHON={python} TRAIN={quote(train)}; {preparation}"
    # braces are escaped, because Snakemake formats the prefix and would replace braces from a configuration
    shell.prefix(prefix.replace("{", "{{").replace("}", "}}"))


begin_jobs("python")


# Libraries that trainings, evaluations and solvers load in two or three seconds; libraries that products load in one
# second; then our own modules.
LIBRARIES = """
torch numba h5py safetensors.torch scipy.sparse scipy.optimize tyro typeguard
matplotlib.pyplot pydantic
sdlcore.fitting.fit sdlcore.evaluation.evaluate sdlcore.solvers.solve sdlstudy.settings.runs
sdlstudy.products.tables
""".split()
servers = []  # keeps references, because a server ends when its standard input is closed


def load_libraries():
    """Start a server that forks local jobs from a Python with loaded libraries (workflow/warm.py).

    It ends with this process. Jobs on a cluster, in conda environments or with --no-hooks do not use it. A workflow that
    imports this one may call the function itself.
    """
    if sys.platform == "linux" and workflow.local_exec and not workflow.deployment_settings.deployment_method:
        warm = REPOSITORY / "workflow/warm.py"
        server = subprocess.Popen(
            [sys.executable, warm, "serve", *LIBRARIES],
            stdin=subprocess.PIPE,  # closes when this process ends, which ends the server
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        )
        servers.append(server)
        address = server.stdout.readline().strip()
        if address:
            run = f'python -IS {quote(str(warm))} run {quote(address)} "$@"'
            begin_jobs("warm_python", f"warm_python() ( exec {run} ); ")


onstart:
    load_libraries()
    interpreter = variables["PEERS_PYTHON"]
    if PEERS and shutil.which(interpreter) is None:
        logger.warning(
            f"peers_python: no interpreter {interpreter}, so {', '.join(PEERS)} cannot train; run make peers"
        )
