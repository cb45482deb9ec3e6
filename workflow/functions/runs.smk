# Runs: where they lie, what they are made from and judged by, and what they take.
import shutil

from sdlcore.baselines.settings import PeerConfig
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.study.configuration.run_keys import (
    Cell,
    convergence_cells,
    discovery_settings,
    is_peer,
    is_solver,
    reference_anchoring,
    run_settings,
    source_kind,
    start_cell,
)


def run_directory(cell):
    return f"{RESULTS}/runs/{cell.source}/{cell.method}/{cell.protocol}/{cell.anchoring}/seed{cell.seed}"


def anchors_file(source, anchoring, seed):
    return f"{RESULTS}/anchors/{source}/{anchoring}/seed{seed}.safetensors"


# methods that solve for their dictionaries, those that other libraries train, and those that are trained here
SOLVERS = [method for method in config["methods"] if is_solver(config, method)]
PEERS = [method for method in config["methods"] if is_peer(config, method) and method not in SOLVERS]
TRAINED_METHODS = [method for method in config["methods"] if method not in [*SOLVERS, *PEERS]]

TRAINED_FILES = ("model.safetensors", "config.json", "history.csv")


def run_files(runs):
    """Return the files that runs leave."""
    return [f"{run}/{file}" for run in dict.fromkeys(runs) for file in (*TRAINED_FILES, "metrics.json")]


def train_settings(wildcards):
    """All settings of a run; as a param, it reruns just the runs that a change of configuration concerns."""
    settings = run_settings(config, wildcards.source, wildcards.method, wildcards.protocol)
    if wildcards.anchoring != "none":
        settings["lambda_anchor"] = config["anchorings"][wildcards.anchoring]["lambda_anchor"]
    return settings


def solve_settings(wildcards):
    """All settings of a solver's run."""
    return run_settings(config, wildcards.source, wildcards.method, wildcards.protocol)


def evaluate_settings(wildcards):
    """All settings of the run whose dictionary is judged."""
    return solve_settings(wildcards) if wildcards.method in SOLVERS else train_settings(wildcards)


def as_run(settings):
    """The typed settings of a run."""
    kind = SolverConfig if "solver" in settings else PeerConfig if "peer" in settings else RunConfig
    return kind.from_dict(settings)


def used_settings(settings):
    """A param: the settings of a run as JSON, without those of parts that it does not have."""
    return as_json(as_run(settings).used())


def solver_threads(settings):
    return 1 if settings["n_atoms"] * settings["batch_size"] < 2**22 else 8


def solver_memory(settings):
    """Megabytes for the Gram matrix, the normal equations and their factor, and for what a batch takes."""
    atoms = settings["n_atoms"]
    return 3000 + 32 * atoms**2 // 10**6 + 8 * atoms * settings["batch_size"] // 10**6


# anchorings whose directions are drawn from what is known, and those that a solver finds
DISCOVERED = [name for name, asked in config["anchorings"].items() if asked.get("discover")]
GIVEN = [name for name in config["anchorings"] if name not in DISCOVERED]


def discover_settings(wildcards):
    """How a run's anchors are found."""
    settings = discovery_settings(config, wildcards.anchoring)
    return settings | {"solver": as_run(settings["solver"]).used()}


def discover_code(wildcards):
    """The digest of what finds them, which makes no dictionary of them."""
    return code_digest("discover_anchors", *as_run(discover_settings(wildcards)["solver"]).parts[1:])


def train_script(wildcards):
    return "train_streamed" if wildcards.source in STREAMED else "train"


def streamed_files(wildcards):
    """What makes the rows of a source that is streamed, beside its recipe."""
    if wildcards.source not in STREAMED:
        return []
    return [file for file in (language_model_files(wildcards), language_text_files(wildcards)) if file]


def train_anchors(wildcards):
    if wildcards.anchoring == "none":
        return []
    return anchors_file(wildcards.source, wildcards.anchoring, wildcards.seed)


def start_model(wildcards):
    """The model that a run starts from, where it does."""
    cell = Cell(
        wildcards.source,
        wildcards.method,
        wildcards.protocol,
        wildcards.anchoring,
        wildcards.seed,
    )
    start = start_cell(config, cell)
    return [] if start is None else f"{run_directory(start)}/model.safetensors"


def train_threads(wildcards):
    """A step of few latents is too short for a second core to help; runs side by side use it better."""
    settings = train_settings(wildcards)
    return max(config["processes"], 1 if settings["n_q"] * settings["batch_size"] < 2**22 else 8)


def train_memory(wildcards):
    """Megabytes for weights, moments and gradients, for what a batch takes, and for a model that makes the rows.

    Where processes divide latents, each has the whole weights at first, a quarter of it all, and its part of the rest.
    """
    settings = train_settings(wildcards)
    source = config["sources"][source_kind(config, wildcards.source)][wildcards.source]
    width = (source.get("n_p") or 1024) + (source.get("n_r") or 0)
    processes = config["processes"]
    copies = 1 if processes == 1 else processes if config["split"] == "samples" else 1 + processes / 4
    needed = 4000 * processes + int(copies * 32 * settings["n_q"] * width) // 10**6
    needed += 8 * settings["n_q"] * settings["batch_size"] // 10**6
    return needed + (language_memory(wildcards) if wildcards.source in STREAMED else 0)


def peer_memory(wildcards):
    """Megabytes for the same, of libraries that keep all latents of a batch several times."""
    settings = train_settings(wildcards)
    return train_memory(wildcards) + 32 * settings["n_q"] * settings["batch_size"] // 10**6


def train_gpus(wildcards):
    """What `device` asks for: auto claims a GPU only where this machine has one, lest a cluster without any wait for it."""
    here = shutil.which("nvidia-smi") is not None
    return 1 if config["device"] == "cuda" or (config["device"] == "auto" and here) else 0


# runs whose histories tell how many features they have
WATCHED = set(convergence_cells(config)) if "convergence" in config["figures"] else set()


def watch_references(wildcards):
    """The directions that a run's history tells of, where a figure asks for it."""
    names = (
        wildcards.source,
        wildcards.method,
        wildcards.protocol,
        wildcards.anchoring,
    )
    return references_file(wildcards) if Cell(*names, int(wildcards.seed)) in WATCHED else []


def evaluate_anchors(wildcards):
    """Which features count as anchored: this run's anchors, or those that the runs it is compared with have."""
    source, anchoring = wildcards.source, wildcards.anchoring
    if anchoring == "none":
        anchoring = reference_anchoring(config, source)
    if not references_file(wildcards) or anchoring is None:
        return []
    return anchors_file(source, anchoring, wildcards.seed)


def evaluate_hierarchy(wildcards):
    """Parents and children of a run's bench, null where there are none."""
    return as_json(bench_settings(wildcards)["hierarchy"] if is_bench(wildcards.source) else None)
