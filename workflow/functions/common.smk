# What all stages share: the validated configuration, paths, and the means to track settings and code.
import json
import os
import subprocess
import sys
from functools import cache
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(REPOSITORY / "src"))

from sdlcore.config import ConfigError, load_yaml, validate
from sdlcore.digest import source_digest

SCRIPTS = REPOSITORY / "workflow/scripts"
ENVIRONMENT = str(REPOSITORY / "environment.yml")
PEERS_ENVIRONMENT = str(REPOSITORY / "workflow/envs/peers.yml")
try:
    filled = validate(config, load_yaml(REPOSITORY / "config/schema/config.schema.yaml"))
except ConfigError as error:
    raise WorkflowError(str(error))
config.update(filled)

RESULTS = f"results/{config['name']}"
CACHE = config["cache"]


# <results>, <logs> and <cache> in the rules
pathvars:
    cache=CACHE,
    results=RESULTS,
    logs=f"logs/{config['name']}",


# What every job's shell finds. The package comes in by PYTHONPATH, so it need not be installed in the rules'
# environments. Passive waiting costs nothing on idle cores and keeps jobs that share them from spinning against each
# other. The device and who else is told of the history stand here and not in params, because a change of them is no
# reason to train again, and how many processes train is none either.
variables = {
    "PYTHONPATH": REPOSITORY / "src",
    "SCRIPTS": REPOSITORY / "workflow/scripts",
    "DEVICE": config["device"],
    "TENSORBOARD": "tensorboard" if config["tensorboard"] else "",
    "WANDB": config["wandb"] or "",
    "SPLIT": config["split"],
    "CACHE": CACHE,
    "OMP_WAIT_POLICY": "PASSIVE",
}
# conda jobs take the interpreter of their environment, others the one that runs Snakemake, or that of other libraries
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
variables["PEERS_PYTHON"] = "python" if WITH_CONDA else os.path.relpath(REPOSITORY / config["peers_python"])
exports = " ".join(f"{name}={quote(str(value))}" for name, value in variables.items())
if not WITH_CONDA:
    exports += f" PATH={quote(str(Path(sys.executable).parent))}:$PATH"


def begin_jobs(python, preparation=""):
    """Have the shells of jobs begin with what they need. Trainings, evaluations and solvers run by `python`."""
    train = python
    if config["processes"] > 1:  # that many train one dictionary together
        train = f"python -m torch.distributed.run --standalone --nproc-per-node {config['processes']}"
    shell.prefix(f"set -euo pipefail; export {exports} PYTHON={python} TRAIN={quote(train)}; {preparation}")


begin_jobs("python")


# what trainings, evaluations and solvers take two or three seconds to load
LIBRARIES = "torch torch.utils.tensorboard numba h5py safetensors.torch scipy.sparse scipy.optimize".split()
servers = []


# Where jobs run here and by the interpreter that runs this, theirs has loaded that already (workflow/warm.py). Not on nodes
# of a cluster, in conda's environments, nor with --no-hooks.
onstart:
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
            begin_jobs("warm_python", f"warm_python() ( exec {run} ); ")  # braces would be Snakemake's


def pattern(names):
    """A pattern of names, or of nothing."""
    return "|".join(names) or "(?!)"


def names_of(*kinds):
    """A pattern of the names of the sources of some kinds."""
    return pattern(name for kind in kinds for name in config["sources"][kind])


wildcard_constraints:
    source=names_of(*config["sources"]),
    method="|".join(config["methods"]),
    protocol="|".join(config["protocols"]),
    anchoring="|".join(["none", *config["anchorings"]]),
    seed=r"\d+",


def as_json(value):
    """JSON that is the same text for the same content, since Snakemake compares params as text."""
    return json.dumps(value, sort_keys=True)


# a plan of hundreds of runs would parse the same files as often. Rules ask by functions of wildcards, since what runs one
# job on a node reads all rules, and needs the digest of one
@cache
def code_digest(script):
    """Digest of a script and all of sdlcore that it imports: as a param, it reruns the stage when that code changes."""
    return source_digest(SCRIPTS / f"{script}.py", REPOSITORY / "src")


def in_checkout(path):
    """The way to a file of the checkout from the working directory: a checkout that is moved makes nothing anew."""
    return os.path.relpath(REPOSITORY / path)


def is_bench(source):
    return source in config["sources"]["bench"]
