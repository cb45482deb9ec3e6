# The plan of a configuration, and its report.
import shutil

from sdlstudy.configuration.cost import measured_trainings, plan_lines, runs_by_product, stages, too_large
from sdlstudy.configuration.plan import lines as large_activations


def report_inputs():
    """Return the files that the report shows: files of products, and files that are kept with the code."""
    files = [file for name in WHOLE for file in PRODUCTS[name].outputs(FILES)]
    return [
        file for file in files if file.endswith((".csv", ".png")) and not file.endswith("_runs.csv")
    ] + PUBLISHED_FILES


# runs of Table 1 at the paper's scale, which are kept with the code, and the paper's numbers
PUBLISHED_FILES = [in_checkout("resources/kept/paper_table1_runs.csv"), FILES.numbers]
if study.name == "paper" or not Path(PUBLISHED_FILES[0]).exists():
    PUBLISHED_FILES = []


# products with a plan of their own
PLANNED = [
    path.rpartition(".")[-1]
    for path, product in study.products_by_path().items()
    if not product.alone and (product.cells(study) or product.cells_without_metrics(study))
]


def source_shapes():
    """Return the shapes of sources whose dimensions are not in the configuration, as far as files and models exist."""
    shapes = {name: shape for name in study.sources.file if (shape := arrays_shape(name))}
    for name, source in study.sources.language.items():
        if source.n_p is None and (model := shape_of_model(name)):
            shapes[name] = Shape(source.rows, (model.width, model.width * (len(source.sites) - 1)))
    return shapes


def say_plan(log, name=None):
    """Print and log the plan of the configuration, or of one table or figure; fail if the disk is clearly too small."""
    folder = Path(RESULTS).absolute()
    free = shutil.disk_usage(next(path for path in [folder, *folder.parents] if path.exists())).free
    measured = measured_trainings(folder.parent)
    config = study.only(name) if name else study
    shapes = source_shapes()
    all_stages, remaining_stages = (
        stages(config, train_memory, extraction_memory, measured, missing, shapes)
        for missing in (lambda path: True, lambda path: not Path(path).exists())
    )
    lines = plan_lines(all_stages, remaining_stages, free, runs_by_product(config))
    absent = {f"{source.kind}.{name}": missing_files(name) for name, source in config.all_sources().items()}
    lines += [f"sources.{name}: no such file: {', '.join(files)}" for name, files in absent.items() if files]
    text = "\n".join(lines)
    Path(log).write_text(f"{text}\n")
    print(text)
    if refused := too_large(remaining_stages, free):
        raise WorkflowError(refused)


# warn before anything runs, in dry runs too
if workflow.is_main_process:
    for line in large_activations(
        study, study.all_sources(), Path(RESULTS).absolute(), extraction_memory, source_shapes()
    ):
        print(line, file=sys.stderr)
