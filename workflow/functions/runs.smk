# Inputs, settings and resources of runs.
import shutil

from sdlcore.evaluation.plugin_metrics import parts_of_metrics
from sdlcore.interop.formats import dictionary_files, format_at, locate
from sdlcore.run import RunConfig
from sdlcore.study.settings.cells import (
    Cell,
    discovery_of,
    run_settings,
    start_cell,
)

# methods that solve for their dictionaries, those that other libraries train, those whose dictionaries are opened from a
# file, and those that are trained here
SOLVERS = [name for name, method in study.methods.items() if method.is_solver]
PEERS = [name for name, method in study.methods.items() if method.is_peer]
IMPORTED = [name for name, method in study.methods.items() if method.is_imported]
TRAINED_METHODS = [name for name in study.methods if name not in [*SOLVERS, *PEERS, *IMPORTED]]


def cell_of(wildcards):
    names = (
        wildcards.source,
        wildcards.method,
        wildcards.protocol,
        wildcards.anchoring,
    )
    return Cell(*names, int(wildcards.seed))


def run_of(wildcards):
    """All settings of a run."""
    return run_settings(study, cell_of(wildcards))


def used_settings(wildcards):
    """A param: the settings of a run as JSON, without those of parts that it does not have."""
    return as_json(run_of(wildcards).used())


def solver_threads(settings):
    return 1 if settings.n_atoms * settings.batch_size < 2**22 else 8


def solver_memory(settings):
    """Megabytes for the Gram matrix, the normal equations and their factor, and for what a batch takes."""
    atoms = settings.n_atoms
    return 3000 + 32 * atoms**2 // 10**6 + 8 * atoms * settings.batch_size // 10**6


# anchorings whose directions are drawn from what is known, and those that a solver finds
DISCOVERED = [name for name, asked in study.anchorings.items() if asked.discover]
GIVEN = [name for name in study.anchorings if name not in DISCOVERED]


def anchors_first(wildcards):
    """How many features, the first of the bench, anchors are drawn from; empty for all."""
    parents = study.anchorings[wildcards.anchoring].features == "parents"
    return study.bench(wildcards.source).hierarchy.parents if parents else ""


def discovering(wildcards):
    """How a run's anchors are found."""
    return discovery_of(study, wildcards.anchoring)


def discover_settings(wildcards):
    """The settings of what finds them, without those of parts that it does not have."""
    found = discovering(wildcards)
    return as_json({"solver": found.solver.used(), "min_cosine": found.min_cosine})


def discover_code(wildcards):
    """The digest of what finds them, which makes no dictionary of them."""
    return code_digest("discover_anchors", *discovering(wildcards).solver.parts[1:])


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
    return FILES.anchors(wildcards.source, wildcards.anchoring, wildcards.seed)


def start_model(wildcards):
    """The model that a run starts from, where it does."""
    start = start_cell(study, cell_of(wildcards))
    return [] if start is None else FILES.model(start)


def imported_files(wildcards):
    """The files of a dictionary that was made elsewhere; none of one at the hub, which names what it holds by commits."""
    settings = run_of(wildcards)
    if is_hub_model(settings.model):
        return []
    try:
        found = locate(settings.model, settings.subfolder)
        return [str(file) for file in dictionary_files(found, settings.format or format_at(found))]
    except ValueError as error:
        raise WorkflowError(f"methods.{wildcards.method}: {error}") from error


def latents_of_batch(settings):
    """Latents of all samples of a batch."""
    if isinstance(settings, RunConfig):
        return settings.model.n_q * settings.training.batch_size
    return settings.n_q * settings.batch_size


def train_threads(wildcards):
    """A step of few latents is too short for a second core to help; runs side by side use it better."""
    return max(
        study.processes,
        1 if latents_of_batch(run_of(wildcards)) < 2**22 else 8,
    )


def train_memory(wildcards):
    """Megabytes for weights, moments and gradients, for what a batch takes, and for a model that makes the rows.

    Where processes divide latents, each has the whole weights at first, a quarter of it all, and its part of the rest.
    """
    settings = run_of(wildcards)
    n_q = settings.model.n_q if isinstance(settings, RunConfig) else settings.n_q
    found = arrays_shape(wildcards.source)
    n_p, n_r = found.widths if found else study.source(wildcards.source).widths
    processes = study.processes
    copies = 1 if processes == 1 else processes if study.split == "samples" else 1 + processes / 4
    needed = 4000 * processes + int(copies * 32 * n_q * ((n_p or 1024) + n_r)) // 10**6
    needed += 8 * latents_of_batch(settings) // 10**6
    return needed + (language_memory(wildcards) if wildcards.source in STREAMED else 0)


def peer_memory(wildcards):
    """Megabytes for the same, of libraries that keep all latents of a batch several times."""
    return train_memory(wildcards) + 32 * latents_of_batch(run_of(wildcards)) // 10**6


def train_gpus(wildcards):
    """What `device` asks for: auto claims a GPU only where this machine has one, lest a cluster without any wait for it."""
    here = shutil.which("nvidia-smi") is not None
    return 1 if study.device == "cuda" or (study.device == "auto" and here) else 0


# runs whose histories tell how many features they have
WATCHED = {cell for product in study.asked().values() for cell in product.watched(study)}


def watch_references(wildcards):
    """The directions that a run's history tells of, where a figure asks for it."""
    return references_file(wildcards) if cell_of(wildcards) in WATCHED else []


def evaluate_anchors(wildcards):
    """Which features count as anchored: this run's anchors, or those that the runs it is compared with have."""
    return FILES.judging_anchors(cell_of(wildcards)) or []


def evaluate_parts(wildcards):
    """The modules that make a run's metrics, beside those that all have."""
    judged = bool(references_file(wildcards))
    bench = study.source(wildcards.source).n_features is not None
    return (*run_of(wildcards).sigma_parts, *parts_of_metrics(judged, bench))


def evaluate_hierarchy(wildcards):
    """Parents and children of a run's bench, null where there are none."""
    bench = study.bench(wildcards.source)
    return as_json(bench.hierarchy.model_dump() if bench and bench.hierarchy else None)
