# What is said of the whole: the plan before it runs, the report of it, and what of it is kept with the code.
import shutil

from sdlcore.study.configuration.run_keys import all_cells
from sdlcore.study.configuration.cost import RATE, measured_rate, plan_lines, stages, too_large
from sdlcore.study.configuration.plan import lines as large_activations
from sdlcore.study.results.kept import publish, restore

PUBLISHED = REPOSITORY / "docs/results" / config["name"] / "runs"


def say(log, paths):
    """Print and log what was written."""
    text = "\n".join([*map(str, paths), f"{len(paths)} files written"])
    Path(log).write_text(f"{text}\n")
    print(text)


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
