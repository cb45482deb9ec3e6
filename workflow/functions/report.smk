# The plan of a configuration, and its report.
import shutil

from sdlstudy.configuration.plan import plan


def report_inputs():
    """Return the files that the report shows: files of products, and files that are kept with the code."""
    files = [file for name in WHOLE for file in PRODUCTS[name].outputs(FILES)]
    shown_files = [file for file in files if file.endswith((".csv", ".png"))]
    if study.name == "paper":
        return shown_files
    # runs of Table 1 at the paper's scale, and the paper's numbers
    return [*shown_files, in_checkout("resources/kept/paper_table1_runs.csv"), FILES.of_paper("numbers")]


def say_plan(log):
    """Print and log the plan of the configuration."""
    folder = Path(RESULTS).absolute()
    free = shutil.disk_usage(next(path for path in [folder, *folder.parents] if path.exists())).free
    shapes = {name: shape for name in study.sources.file if (shape := arrays_shape(name))}
    stages = plan(study, lambda path: not Path(path).exists(), shapes)
    lines = [
        stages.to_string(index=False, na_rep="unknown", float_format="{:.2f}".format),
        f"{free / 1e9:.0f} GB are free. Hours are for jobs one after the other, trainings at the speed of one core.",
    ]
    absent = {f"{source.kind}.{name}": missing_files(name) for name, source in study.all_sources().items()}
    lines += [f"sources.{name}: no such file: {', '.join(files)}" for name, files in absent.items() if files]
    text = "\n".join(lines)
    Path(log).write_text(f"{text}\n")
    print(text)
