# Inputs, settings and resources of runs.
import shutil
from functools import cache

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.evaluation.plugin_metrics import plugins_of_metrics
from sdlcore.interop.formats import locate_files
from sdlcore.interop.settings import ImportConfig
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.settings.cells import Cell, discovering_solver, run_settings, start_cell
from sdlstudy.settings.codes import CodesConfig

# methods that other libraries train
PEERS = [name for name, method in study.methods.items() if method.settings is PeerConfig]


def cell_of(wildcards):
    names = (wildcards.source, wildcards.method, wildcards.protocol, wildcards.anchoring)
    return Cell(*names, int(wildcards.seed))


@cache
def settings_of(source, method, protocol, anchoring):
    """Return all settings of a run, which are equal for every seed. Snakemake calls this several times for each job."""
    return run_settings(study, Cell(source, method, protocol, anchoring, seed=0))


def run_of(wildcards):
    """Return all settings of a run."""
    run = cell_of(wildcards)
    return settings_of(run.source, run.method, run.protocol, run.anchoring)


def run_settings_given(wildcards):
    """Return the settings of a run that differ from the defaults as JSON."""
    return as_json(run_of(wildcards).non_defaults())


def run_number(wildcards):
    """Return the number of a run's stage, by the kind of the run."""
    stages = {Config: "train", SolverConfig: "solve", PeerConfig: "peer", ImportConfig: "import", CodesConfig: "codes"}
    return NUMBERS[stages[type(run_of(wildcards))]]


def run_python(wildcards):
    """Return the command that runs the script of a run: torchrun for trainings by several processes."""
    return {Config: "$TRAIN", PeerConfig: '"$PEERS_PYTHON"'}.get(type(run_of(wildcards)), "$PYTHON")


def plugins_of(wildcards):
    """Return the digests of the files of the plugins that a run uses; only trainings and solvers use any."""
    settings = run_of(wildcards)
    return settings.plugins if isinstance(settings, Config | SolverConfig) else {}


# anchorings whose directions a solver finds, and anchorings that are drawn from true features or class means
DISCOVERED = [name for name, anchoring in study.anchorings.items() if anchoring.discover]
GIVEN = [name for name in study.anchorings if name not in DISCOVERED]


def anchors_first(wildcards):
    """Return the number of features, from the first, that anchors are drawn from; empty for all features."""
    parents = study.anchorings[wildcards.anchoring].features == "parents"
    return study.sources.bench[wildcards.source].hierarchy.parents if parents else ""


def discovering(wildcards):
    """Return the settings of the solver that finds a run's anchors."""
    return discovering_solver(study, wildcards.anchoring)


def discover_settings(wildcards):
    """Return the settings for finding anchors as JSON, solver settings without defaults."""
    min_cosine = study.anchorings[wildcards.anchoring].discover.min_cosine
    return as_json({"solver": discovering(wildcards).non_defaults(), "min_cosine": min_cosine})


def streamed_files(wildcards):
    """Return the model and text that a streamed source's rows are made from; empty for other sources."""
    if wildcards.source not in LANGUAGE_STREAMED:
        return []
    return [file for file in (language_model_files(wildcards), language_text_files(wildcards)) if file]


def train_anchors(wildcards):
    if wildcards.anchoring == "none":
        return []
    return FILES.anchors(wildcards.source, wildcards.anchoring, wildcards.seed)


def start_model(wildcards):
    """Return the model that a run starts from; empty if it starts from scratch."""
    start = start_cell(study, cell_of(wildcards))
    return [] if start is None else FILES.model(start)


def imported_files(wildcards):
    """Return the files of an imported dictionary; empty for a dictionary on the hub, whose commit fixes its content."""
    settings = run_of(wildcards)
    if not isinstance(settings, ImportConfig) or is_hub_model(settings.model):
        return []
    try:
        return [str(file) for file in locate_files(settings.model, settings.subfolder, settings.format)]
    except ValueError as error:
        raise WorkflowError(f"methods.{wildcards.method}: {error}") from error


def size_of_run(wildcards):
    """Return the number of latents or atoms, and of samples in a batch. A search for codes is as large as its training."""
    settings = run_of(wildcards)
    if isinstance(settings, CodesConfig):
        settings = run_of(start_cell(study, cell_of(wildcards)))
    if isinstance(settings, ImportConfig):
        return 1, 1
    return settings.n_atoms if isinstance(settings, SolverConfig) else settings.n_q, settings.batch_size


def threads_for(latents, batch_size):
    """Return the number of threads: one for runs with few latents, because a second core helps another run more."""
    return 1 if latents * batch_size < 2**22 else 8


def solver_memory(latents, batch_size):
    """Return megabytes for the Gram matrix, the normal equations, their factor, and a batch of codes."""
    return 3000 + (32 * latents**2 + 8 * latents * batch_size) // 10**6


def run_threads(wildcards):
    return max(study.processes, threads_for(*size_of_run(wildcards)))


def run_memory(wildcards):
    """Return megabytes for weights, moments and gradients, for a batch, and for the model of a streamed source."""
    latents, batch_size = size_of_run(wildcards)
    if isinstance(run_of(wildcards), SolverConfig):
        return solver_memory(latents, batch_size)
    shape = arrays_shape(wildcards.source)
    n_p, n_r = shape.widths if shape else study.source(wildcards.source).widths
    weights = 4000 + 32 * latents * ((n_p or 1024) + n_r) // 10**6
    # other libraries keep several copies of a batch's latents
    batch = (40 if isinstance(run_of(wildcards), PeerConfig) else 8) * latents * batch_size // 10**6
    if isinstance(run_of(wildcards), CodesConfig):
        batch += 8 * latents**2 // 10**6  # inner products of rows, in the search and in the refit
    model = language_memory(wildcards) if wildcards.source in LANGUAGE_STREAMED else 0
    return study.processes * weights + batch + model


def run_minutes(wildcards):
    return 2880 if wildcards.source in STREAMED or isinstance(run_of(wildcards), CodesConfig) else 240


def run_gpus(wildcards):
    """Return the number of GPUs of a run: for trainings, and for language models whose activations are not stored."""
    if isinstance(run_of(wildcards), Config):
        return study.processes * train_gpus(wildcards)
    return train_gpus(wildcards) if wildcards.source in LANGUAGE_STREAMED else 0


def train_gpus(wildcards):
    """Return the number of GPUs of a job. With device auto, it is 1 only if this machine has a GPU.

    Otherwise a cluster without GPUs would wait forever."""
    here = shutil.which("nvidia-smi") is not None
    return 1 if study.device == "cuda" or (study.device == "auto" and here) else 0


# runs that write recovery into their histories
WATCHED = {cell for product in study.products().values() if product.watched for cell in product.cells(study)}


def watch_references(wildcards):
    """Return the reference directions for recovery in a run's history; empty if no figure needs it."""
    return references_file(wildcards) if cell_of(wildcards) in WATCHED else []


def evaluate_anchors(wildcards):
    """Return the anchors that decide which features count as anchored.

    They are the run's own anchors; for a run without anchors, the anchors of the runs that it is compared with."""
    return FILES.judging_anchors(cell_of(wildcards)) or []


def evaluate_plugins(wildcards):
    """Return the digests of the files of the plugins that a run's metrics need: the run's own, and metrics, as JSON."""
    judged = bool(references_file(wildcards))
    bench = study.source(wildcards.source).n_features is not None
    return as_json(plugins_of(wildcards) | plugins_of_metrics(judged, bench))


def evaluate_hierarchy(wildcards):
    """Return the hierarchy of a run's bench as JSON; null without a hierarchy."""
    bench = study.sources.bench.get(wildcards.source)
    return as_json(bench.hierarchy.model_dump() if bench and bench.hierarchy else None)
