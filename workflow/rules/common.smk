# What all stages share: the validated configuration, paths, and the means to track settings and code.
import hashlib
import json
import os
import shutil
import sys
from functools import cache
from shlex import quote
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(REPOSITORY / "src"))

from sdlcore.activations.array_reference import source_files
from sdlcore.activations.image_reference import FASHION_MNIST, TRAINED, clip_samples
from sdlcore.activations.hub_names import is_hub_model, is_hub_text
from sdlcore.activations.wheels import PREFIX, WheelError, parse_reference
from sdlcore.cells import (
    SETTINGS_TABLE,
    TOP_IMAGES,
    Cell,
    all_cells,
    bench_table_cells,
    convergence_cells,
    discovery_cells,
    discovery_settings,
    figure4_cells,
    figure5_cells,
    figure6_cells,
    is_peer,
    frontier_cell,
    frontier_points,
    frontier_seeds,
    is_labelled,
    is_solver,
    reference_anchoring,
    run_settings,
    run_tables,
    source_kind,
    source_settings,
    start_cell,
    table_cells,
    table_points,
    table_seeds,
    top_images_cell,
)
from sdlcore.config import ConfigError, load_yaml, validate
from sdlcore.digest import source_digest
from sdlcore.cost import RATE, measured_rate, plan_lines, stages, too_large
from sdlcore.plan import lines as large_activations
from sdlcore.published import publish, restore
from sdlcore.verdicts.scale import SWEPT

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


# what starts a training: python, or as many of it as train one dictionary together
TRAIN = "python"
if config["processes"] > 1:
    TRAIN = f"python -m torch.distributed.run --standalone --nproc-per-node {config['processes']}"


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
    "TRAIN": TRAIN,
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
shell.prefix(f"set -euo pipefail; export {exports}; ")


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


# sources whose samples have classes
LABELLED = {
    source: settings
    for kind in config["sources"].values()
    for source, settings in kind.items()
    if is_labelled(settings)
}


def bench_settings(wildcards):
    return config["sources"]["bench"][wildcards.source]


def store(part):
    """Input function: the store of a run's source, drawn anew for each seed where it is a bench's."""

    def path(wildcards):
        source = wildcards.source
        folder = f"{source}/seed{wildcards.seed}" if is_bench(source) else source
        recipe = part == "train" and source in STREAMED
        return f"{RESULTS}/activations/{folder}/{part}.{'json' if recipe else 'h5'}"

    return path


def run_directory(cell):
    return f"{RESULTS}/runs/{cell.source}/{cell.method}/{cell.protocol}/{cell.anchoring}/seed{cell.seed}"


def anchors_file(source, anchoring, seed):
    return f"{RESULTS}/anchors/{source}/{anchoring}/seed{seed}.safetensors"


# methods that solve for their dictionaries, those that other libraries train, and those that are trained here
SOLVERS = [method for method in config["methods"] if is_solver(config, method)]
PEERS = [method for method in config["methods"] if is_peer(config, method) and method not in SOLVERS]
TRAINED_METHODS = [method for method in config["methods"] if method not in [*SOLVERS, *PEERS]]


def table_runs(table):
    return [run_directory(cell) for cell in table_cells(config, table)]


PUBLISHED = REPOSITORY / "docs/results" / config["name"] / "runs"


def say(log, paths):
    """Print and log what was written."""
    text = "\n".join([*map(str, paths), f"{len(paths)} files written"])
    Path(log).write_text(f"{text}\n")
    print(text)


TRAINED_FILES = ("model.safetensors", "config.json", "history.csv")


def run_files(runs):
    """Return the files that runs leave."""
    return [f"{run}/{file}" for run in dict.fromkeys(runs) for file in (*TRAINED_FILES, "metrics.json")]


# tables that are made of runs, and those of them that vary something, whose figures stand beside them
RUN_TABLES = run_tables(config)
SWEEPS = [table for table, asked in RUN_TABLES.items() if asked["sweep"] is not None]


def table_files(table):
    """Return a table's files and those of its runs, which Snakemake would not miss while the table is there."""
    names = [f"{table}.csv", f"{table}.md", f"{table}.tex"]
    if table == SETTINGS_TABLE:
        return [f"{RESULTS}/tables/{name}" for name in names]
    names += [f"{table}_effects.csv", f"{table}_runs.csv"]
    files = [f"{RESULTS}/tables/{name}" for name in names] + run_files(table_runs(table))
    if table in SWEEPS:
        files += [f"{RESULTS}/figures/{table}.{suffix}" for suffix in ("png", "pdf")]
    for source in dict.fromkeys(point.source for point in table_points(config, table)):
        if source in LABELLED:
            files.append(f"{RESULTS}/tables/{source}_classes.csv")
        if source in config["sources"]["clip"]:
            files += clip_files(source)
    if table == "table1":
        files += FEATURE_FILES
    return files


def figure_files(figure):
    files = [f"{RESULTS}/figures/{figure}.{suffix}" for suffix in ("png", "pdf")]
    if figure in BENCH_FIGURES:
        files.append(f"{RESULTS}/tables/{figure}.csv")
        files += [f"{run_directory(cell)}/{file}" for cell in BENCH_FIGURES[figure](config) for file in TRAINED_FILES]
    if figure == "figure6":
        files += [f"{RESULTS}/tables/figure6.csv", *run_files(figure6_runs("with") + figure6_runs("without"))]
    if figure in TOP_IMAGES:
        files += [f"{RESULTS}/tables/{figure}.csv", *run_files([top_images_run(figure)])]
    return files


# figures of a bench that judge dictionaries themselves, or their histories, so that their runs need no metrics
BENCH_FIGURES = {
    "figure4": figure4_cells,
    "figure5": figure5_cells,
    "convergence": convergence_cells,
}


def judged_runs(figure):
    """What a figure of a bench is made from, run by run."""
    return [
        {
            "method": cell.method,
            "seed": cell.seed,
            "model": f"{run_directory(cell)}/model.safetensors",
            "store": store("test")(cell),
            "references": references_file(cell),
        }
        for cell in BENCH_FIGURES[figure](config)
    ]


def judged_files(figure):
    return list(dict.fromkeys(run[file] for run in judged_runs(figure) for file in ("model", "store", "references")))


TOP_IMAGES_ASKED = [figure for figure in TOP_IMAGES if figure in config["figures"]]


def top_images_run(figure):
    return run_directory(top_images_cell(config, figure))


def top_images_files(figure):
    """The means of classes and the anchors that a figure's latents are chosen by, as the run is evaluated by."""
    cell = top_images_cell(config, figure)
    return {"references": references_file(cell), "anchors": evaluate_anchors(cell)}


def top_images_settings(figure):
    asked, cell = config["figures"][figure], top_images_cell(config, figure)
    shown = {name: getattr(cell, name) for name in ("source", "method", "anchoring", "seed")}
    return shown | {name: asked[name] for name in ("rows", "images")}


def image_folder(run, part):
    """Where the images of a run's store lie, which it names by their paths from there."""
    train, test = clip_folders(run)
    return test if part == "test" and test else train


def figure6_runs(side):
    return [run_directory(cell) for cell in figure6_cells(config, side)]


def train_settings(wildcards):
    """All settings of a run; as a param, it reruns just the runs that a change of configuration concerns."""
    settings = run_settings(config, wildcards.source, wildcards.method, wildcards.protocol)
    if wildcards.anchoring != "none":
        settings["lambda_anchor"] = config["anchorings"][wildcards.anchoring]["lambda_anchor"]
    return settings


def solve_settings(wildcards):
    """All settings of a solver's run."""
    return run_settings(config, wildcards.source, wildcards.method, wildcards.protocol)


def solve_threads(wildcards):
    settings = solve_settings(wildcards)
    return 1 if settings["n_atoms"] * settings["batch_size"] < 2**22 else 8


def solve_memory(wildcards):
    """Megabytes for the Gram matrix, the normal equations and their factor, and for what a batch takes."""
    return solver_memory(solve_settings(wildcards))


def solver_memory(settings):
    atoms = settings["n_atoms"]
    return 3000 + 32 * atoms**2 // 10**6 + 8 * atoms * settings["batch_size"] // 10**6


def bench_table_runs(table):
    return [run_directory(cell) for cell in bench_table_cells(config, table)]


def bench_table_files(table):
    """Return a table of methods on benches and the files of its runs, which Snakemake would not miss otherwise."""
    if not config[table]:
        return []
    return [f"{RESULTS}/tables/{table}.{suffix}" for suffix in ("csv", "md")] + run_files(bench_table_runs(table))


def bench_facts(sources):
    """What tables of solvers say of sources; others than benches have no n and sparsity."""
    keys = ("n", "sparsity", "train_samples")
    return {source: {key: source_settings(config, source).get(key) for key in keys} for source in sources}


def frontier_runs():
    """The frontier's runs, point by point: a run stands at every point that it belongs to."""
    return [
        {
            "parameter": point.parameter,
            "value": point.value,
            "folder": run_directory(frontier_cell(config, point, method, seed)),
        }
        for point in frontier_points(config)
        for method in point.methods
        for seed in frontier_seeds(config)
    ]


def frontier_files():
    """Return the frontier's figure and table and the files of its runs, which Snakemake would not miss otherwise."""
    if not config["frontier"]:
        return []
    files = [f"{RESULTS}/figures/frontier.{suffix}" for suffix in ("png", "pdf")]
    return [*files, f"{RESULTS}/tables/frontier.csv", *run_files(run["folder"] for run in frontier_runs())]


# anchorings whose directions are drawn from what is known, and those that a solver finds
DISCOVERED = [name for name, asked in config["anchorings"].items() if asked.get("discover")]
GIVEN = [name for name in config["anchorings"] if name not in DISCOVERED]


def discover_threads(wildcards):
    settings = discovery_settings(config, wildcards.anchoring)["solver"]
    return 1 if settings["n_atoms"] * settings["batch_size"] < 2**22 else 8


def discover_memory(wildcards):
    return solver_memory(discovery_settings(config, wildcards.anchoring)["solver"])


def discovery_runs():
    return [run_directory(cell) for cell in discovery_cells(config)]


def discovery_judges():
    """What the table of discovered anchors judges the runs of each source and seed by."""
    judges = {}
    for cell in discovery_cells(config):
        judge = judges.setdefault(
            (cell.source, cell.seed),
            {
                "source": cell.source,
                "seed": cell.seed,
                "references": references_file(cell) or None,
                "anchors": {},
                "all_stable": [],
            },
        )
        if cell.anchoring != "none":
            judge["anchors"][cell.anchoring] = anchors_file(cell.source, cell.anchoring, cell.seed)
            if config["anchorings"][cell.anchoring]["n_anchors"] is None:
                judge["all_stable"] = sorted({*judge["all_stable"], cell.anchoring})
    return list(judges.values())


def discovery_judge_files():
    found = [[judge["references"], *judge["anchors"].values()] for judge in discovery_judges()]
    return list(dict.fromkeys(file for files in found for file in files if file))


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


def references_file(wildcards):
    """The directions that runs of a source are judged against, where there are any."""
    if is_bench(wildcards.source):
        return f"{RESULTS}/bench/{wildcards.source}/seed{wildcards.seed}/feature_matrix.safetensors"
    return f"{RESULTS}/references/{wildcards.source}.safetensors" if wildcards.source in LABELLED else []


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


def table_configuration(table):
    """Return the part of the configuration that a table hangs on, so that other changes do not remake it."""
    asked = config["tables"][table]
    points = table_points(config, table)
    used = {asked["source"], *(point.source for point in points)}
    methods = {*asked["methods"], *(method for point in points for method in point.methods.values())}
    return {
        "name": config["name"],
        "seeds": config["seeds"],
        "tables": {table: asked},
        "sources": {
            kind: {name: settings for name, settings in sources.items() if name in used}
            for kind, sources in config["sources"].items()
            if used & sources.keys()
        },
        "methods": {name: config["methods"][name] for name in methods},
        "protocols": {
            name: {
                "run": protocol["run"],
                "methods": {method: s for method, s in protocol["methods"].items() if method in methods},
            }
            for name, protocol in config["protocols"].items()
            if name in asked["protocols"]
        },
        "anchorings": {name: config["anchorings"][name] for name in asked["anchorings"] if name != "none"},
    }


def figure6_labels(wildcards):
    """Return what the legend of figure 6 says, out of the methods' settings."""
    asked = config["figures"]["figure6"]
    every = config["methods"][asked["with"]].get("resample_every")
    return as_json(
        {
            "with": f"resampled every {every} steps" if every else asked["with"],
            "without": "not resampled",
            "method": asked["without"],
            "source": asked["source"],
        }
    )


def report_inputs():
    """Return the report's files by what they are; what the configuration lacks is left out."""
    files = {}
    for table in config["tables"]:
        files[table] = f"{RESULTS}/tables/{table}.csv"
        if table in RUN_TABLES:
            files[f"{table}_effects"] = f"{RESULTS}/tables/{table}_effects.csv"
        if table in SWEEPS:
            files[f"{table}_sweep"] = f"{RESULTS}/figures/{table}.png"
    for figure in config["figures"]:
        files[figure] = f"{RESULTS}/figures/{figure}.png"
        if figure != "figure8":
            files[f"{figure}_summary"] = f"{RESULTS}/tables/{figure}.csv"
    if FEATURE_FILES:
        files["features"] = f"{RESULTS}/figures/features.png"
    if ANY_VERDICTS:
        files |= {name: f"{RESULTS}/tables/{name}.csv" for name in ("verdicts", "claims")}
    # what the scale of this configuration cannot decide, runs at the paper's have, where the documentation is there
    kept = {name: f"docs/results/paper/{name}.csv" for name in ("verdicts", "claims")}
    if config["name"] != "paper" and all((REPOSITORY / path).exists() for path in kept.values()):
        files |= {f"published_{name}": in_checkout(path) for name, path in kept.items()}
    return files


# the tables whose numbers get verdicts, and those of them that are run here
JUDGED = list(SWEPT)
JUDGED_HERE = [table for table in JUDGED if table in config["tables"]]
VERDICT_FILES = [f"{RESULTS}/tables/{name}.{suffix}" for name in ("verdicts", "claims") for suffix in ("csv", "md")]
ANY_VERDICTS = bool(JUDGED_HERE) or "figure6" in config["figures"]


def verdict_configuration():
    """Return the part of the configuration that says at what scale runs are."""
    parts = {name: config[name] for name in ("sources", "methods", "protocols", "anchorings")}
    return parts | {"figures": {name: spec for name, spec in config["figures"].items() if name == "figure6"}}


def wheel_files():
    """The files that sources take out of wheels: path below the cache's wheels -> reference and checksum."""
    found = {}
    for name, settings in config["sources"]["llama"].items():
        for key in ("model", "text"):
            if not settings[key].startswith(PREFIX):
                continue
            try:
                path = parse_reference(settings[key]).cached
            except WheelError as error:
                raise WorkflowError(f"sources.llama.{name}.{key}: {error}")
            file = {
                "reference": settings[key],
                "sha256": settings[f"{key}_sha256"] or "",
            }
            if found.setdefault(path, file) != file:
                raise WorkflowError(
                    f"sources.llama.{name}.{key}: another source takes a file of the same name out of the same"
                    f" wheel, as {found[path]}, not {file}; make the two agree"
                )
    return found


WHEEL_FILES = wheel_files()


def wheel_file(wildcards):
    return WHEEL_FILES[f"{wildcards.wheel}/{wildcards.member}"]


def local_gguf(model):
    """Return the path below the cache's models that a GGUF file of one's own is converted to."""
    return f"local-{hashlib.sha256(model.encode()).hexdigest()[:12]}/{Path(model).name}"


GGUF_FILES = {
    local_gguf(settings["model"]): settings["model"]
    for settings in config["sources"]["llama"].values()
    if settings["model"].endswith(".gguf") and not settings["model"].startswith(PREFIX)
}


def gguf_file(wildcards):
    """Input function: what is converted to a folder below the cache's models."""
    path = f"{wildcards.wheel}/{wildcards.member}"
    return GGUF_FILES.get(path, f"{CACHE}/wheels/{path}")


def language_model(wildcards):
    """The folder of a source's model, or its name at the hub."""
    model = config["sources"]["llama"][wildcards.source]["model"]
    if model.startswith(PREFIX):
        return f"{CACHE}/models/{parse_reference(model).cached}"
    return f"{CACHE}/models/{local_gguf(model)}" if model.endswith(".gguf") else model


def language_text(wildcards):
    """The file or folder of a source's text, or its name at the hub."""
    text = config["sources"]["llama"][wildcards.source]["text"]
    return f"{CACHE}/wheels/{parse_reference(text).cached}" if text.startswith(PREFIX) else text


# what a source's rows are trained on, judged by and planned with, and how its model is made: not what is extracted
NOT_EXTRACTED = (
    *("run", "class_means", "samples_per_second", "training", "workers", "shards"),
    *("stream", "buffer_rows"),
)


def extraction_settings(kind, wildcards):
    """What a source extracts. A change of anything else must not extract anew."""
    settings = config["sources"][kind][wildcards.source]
    others = (*NOT_EXTRACTED, "n_p") if kind == "llama" else NOT_EXTRACTED
    return {key: value for key, value in settings.items() if key not in others}


# sources whose training store is extracted in parts, and those whose training rows are never stored
EXTRACTED = {name: settings for kind in ("clip", "llama") for name, settings in config["sources"][kind].items()}
SHARDED = [name for name, settings in EXTRACTED.items() if settings["shards"] > 1]
STREAMED = [name for name, settings in config["sources"]["llama"].items() if settings["stream"]]


def n_shards(source, split):
    return EXTRACTED[source]["shards"] if split == "train" else 1


def shard_files(source, split, suffix):
    numbers = range(n_shards(source, split))
    return [f"{RESULTS}/activations/{source}/{split}/part-{number:05d}.{suffix}" for number in numbers]


def clip_source(wildcards):
    return config["sources"]["clip"][wildcards.source]


def is_fashion_mnist(wildcards):
    return clip_source(wildcards)["images"] == FASHION_MNIST


def clip_prepared_images(wildcards):
    """The image folder that the pipeline itself makes; nothing where the user's own is taken."""
    if not is_fashion_mnist(wildcards):
        return []
    train_images, test_images = clip_samples(clip_source(wildcards))
    return f"{CACHE}/images/fashion_mnist_{train_images}_{test_images}"


def clip_folders(wildcards):
    """The folders of training and evaluation images; the latter None where some of the former are held out."""
    if is_fashion_mnist(wildcards):
        return [f"{clip_prepared_images(wildcards)}/{part}" for part in ("train", "test")]
    return [clip_source(wildcards)[key] for key in ("images", "test_images")]


def clip_test_images(wildcards):
    folder = clip_folders(wildcards)[1]
    return [] if folder is None else ["--test-images", folder]


def clip_model(wildcards):
    """The architecture: a name, or a JSON file of the working directory or else of the checkout."""
    model = clip_source(wildcards)["model"]
    return in_checkout(model) if model.endswith(".json") and not Path(model).exists() else model


def clip_architecture(wildcards):
    model = clip_model(wildcards)
    return model if model.endswith(".json") else []


def clip_weights(wildcards):
    trained = f"{RESULTS}/clip/{wildcards.source}/model.safetensors"
    return trained if clip_source(wildcards)["pretrained"] == TRAINED else clip_source(wildcards)["pretrained"]


def clip_weights_file(wildcards):
    return clip_weights(wildcards) if clip_source(wildcards)["pretrained"] == TRAINED else []


def clip_workers(wildcards):
    return clip_source(wildcards)["workers"]


def clip_files(source):
    """Return the files that a CLIP source leaves beside its stores."""
    files = [f"{RESULTS}/activations/{source}/skipped.csv"]
    if config["sources"]["clip"][source]["pretrained"] == TRAINED:
        files += [f"{RESULTS}/clip/{source}/{name}" for name in ("model.safetensors", "metrics.json")]
    return files


def array_files(wildcards):
    """Files of a source of kind file. Snakemake itself would take stores of files that are gone for good ones."""
    files = source_files(config["sources"]["file"][wildcards.source])
    missing = [file for file in files if not Path(file).exists()]
    if missing:
        raise WorkflowError(f"sources.file.{wildcards.source}: no such file: {', '.join(missing)}")
    return files


def language_model_files(wildcards):
    model = language_model(wildcards)
    return [] if is_hub_model(model) else model


def language_text_files(wildcards):
    text = language_text(wildcards)
    return [] if is_hub_text(text) else text


def language_environment(wildcards):
    """What is local asks nothing of the hub."""
    on_hub = is_hub_model(language_model(wildcards)) or is_hub_text(language_text(wildcards))
    return "" if on_hub else "HF_HUB_OFFLINE=1"


def language_memory(wildcards):
    """Megabytes for a source's model: its weights twice. A model of the hub is not here yet; 7B in bfloat16 fit."""
    model = language_model(wildcards)
    if is_hub_model(model):
        return 32000
    weights = sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    return 3000 + 2 * weights // 10**6


def language_minutes(wildcards):
    """Generous for a CPU: 20,000 tokens a minute."""
    settings = config["sources"]["llama"][wildcards.source]
    rows = settings["test_samples"] if settings["stream"] else settings["train_samples"] // settings["shards"]
    return max(120, rows // 20000)


CLIP_MEMORY = 8000


def extraction_memory(source):
    """Megabytes that a job of a source's extraction asks for, where it runs a model."""
    if source in config["sources"]["llama"]:
        return language_memory(SimpleNamespace(source=source))
    return CLIP_MEMORY if source in config["sources"]["clip"] else None


def say_plan(log):
    """Print and log the plan; fail where the disk is plainly too small for it."""
    folder = Path(RESULTS).absolute()
    free = shutil.disk_usage(next(path for path in [folder, *folder.parents] if path.exists())).free
    rate, runs = measured_rate(folder.parent) or (RATE, 0)
    found = stages(config, all_cells(config), train_memory, extraction_memory, rate)
    text = "\n".join(plan_lines(found, free, rate, runs))
    Path(log).write_text(f"{text}\n")
    print(text)
    if refused := too_large(found, free):
        raise WorkflowError(refused)


# before anything runs, and in a dry run too
if workflow.is_main_process:
    every_source = [source for kind in config["sources"].values() for source in kind]
    for line in large_activations(config, every_source, Path(RESULTS).absolute(), extraction_memory):
        print(line, file=sys.stderr)


def feature_pairs():
    """The dictionaries without and with anchors that Table 1 compares feature by feature: of its first seed and protocol."""
    asked = RUN_TABLES.get("table1")
    if asked is None or not is_bench(asked["source"]) or "none" not in asked["anchorings"]:
        return []
    anchored = next((name for name in asked["anchorings"] if name != "none"), None)
    if anchored is None:
        return []
    source, protocol, seed = asked["source"], asked["protocols"][0], table_seeds(config, "table1")[0]
    pairs = []
    for method in asked["methods"]:
        cell = Cell(source, method, protocol, "none", seed)
        pairs.append(
            {
                "method": method,
                "model": f"{run_directory(cell)}/model.safetensors",
                "anchored": f"{run_directory(Cell(source, method, protocol, anchored, seed))}/model.safetensors",
                "references": references_file(cell),
                "anchors": anchors_file(source, anchored, seed),
            }
        )
    return pairs


def convergence_runs():
    """The runs of the figure of convergence, as its script takes them."""
    return [
        {
            "method": cell.method,
            "protocol": None if is_solver(config, cell.method) else cell.protocol,
            "seed": cell.seed,
            "history": f"{run_directory(cell)}/history.csv",
        }
        for cell in convergence_cells(config)
    ]


FEATURE_PAIRS = feature_pairs()
FEATURE_NAMES = ("figures/features.png", "figures/features.pdf", "tables/features.csv")
FEATURE_FILES = [f"{RESULTS}/{name}" for name in FEATURE_NAMES if FEATURE_PAIRS]
