# Environment variables and interpreter of every job.
import os
import subprocess
import sys
from shlex import quote

from snakemake.settings.types import DeploymentMethod

# What every job's shell finds. The package comes in by PYTHONPATH, so it need not be installed in the rules'
# environments. Passive waiting costs nothing on idle cores and keeps jobs that share them from spinning against each
# other. The device and who else is told of the history stand here and not in params, because a change of them is no
# reason to train again, and how many processes train is none either. A finished run of any configuration is copied where
# another one is the same.
variables = {
    "PYTHONPATH": REPOSITORY / "src",
    "SCRIPTS": REPOSITORY / "workflow/scripts",
    "DEVICE": study.device,
    "TENSORBOARD": "tensorboard" if study.tensorboard else "",
    "WANDB": study.wandb or "",
    "SPLIT": study.split,
    "FINISHED": "results/*/runs/*/*/*/*/*",
    "CACHE": CACHE,
    "PAPER": FILES.paper,
    "OMP_WAIT_POLICY": "PASSIVE",
    "SDLCORE_PLUGINS": os.pathsep.join(study.plugins),
}
# conda jobs take the interpreter of their environment, others the one that runs Snakemake, or that of other libraries
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
variables["PEERS_PYTHON"] = "python" if WITH_CONDA else os.path.relpath(REPOSITORY / study.peers_python)
exports = " ".join(f"{name}={quote(str(value))}" for name, value in variables.items())
if not WITH_CONDA:
    exports += f" PATH={quote(str(Path(sys.executable).parent))}:$PATH"


def begin_jobs(python, preparation=""):
    """Have the shells of jobs begin with what they need. Jobs of seconds run by `python`."""
    train = python
    if study.processes > 1:  # that many train one dictionary together
        train = f"python -m torch.distributed.run --standalone --nproc-per-node {study.processes}"
    prefix = f"set -euo pipefail; export {exports} PYTHON={python} TRAIN={quote(train)}; {preparation}"
    # Snakemake formats it, and would put in what a configuration has in braces, after it was quoted
    shell.prefix(prefix.replace("{", "{{").replace("}", "}}"))


begin_jobs("python")


# what trainings, evaluations and solvers take two or three seconds to load, and products one; and what they are themselves
LIBRARIES = """
torch numba h5py safetensors.torch scipy.sparse scipy.optimize tyro typeguard
matplotlib.pyplot pydantic
sdlcore.training.run_training sdlcore.evaluation.evaluate sdlcore.evaluation.finished sdlcore.solvers.run_solver
sdlcore.study.products.run_table
""".split()
servers = []  # held on to, as their standard input is what keeps them


def load_libraries():
    """Have local jobs fork from a Python that has loaded their libraries (workflow/warm.py), and end with this one.

    Not on nodes of a cluster, in conda's environments, nor with --no-hooks. A workflow that imports this one calls it.
    """
    if sys.platform == "linux" and workflow.local_exec and not workflow.deployment_settings.deployment_method:
        warm = REPOSITORY / "workflow/warm.py"
        server = subprocess.Popen(
            [sys.executable, warm, "serve", *LIBRARIES],
            stdin=subprocess.PIPE,  # open until this process ends, and so does the server
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
