# Checks of the user's files: whether they exist, and whether they fit the configuration.
from functools import cache
from types import SimpleNamespace

from sdlcore import SourceError
from sdlstudy.configuration.plan import Shape


def missing_files(name):
    """Return the user's files of a source that do not exist. The jobs check image folders themselves."""
    return [file for file in getattr(study.source(name), "files", []) if not Path(file).exists()]


def refuse_missing_files(name):
    """Raise an error if files of a source are missing, because Snakemake then accepts existing stores as up to date."""
    if missing := missing_files(name):
        path = f"sources.{study.source(name).kind}.{name}"
        raise WorkflowError(f"{path}: no such file: {', '.join(missing)}; correct the path, or put the file back")


def files_of_source(wildcards):
    """Input function: the user's files of a source."""
    refuse_missing_files(wildcards.source)
    return getattr(study.source(wildcards.source), "files", [])


@cache
def arrays_shape(name):
    """Return the numbers of samples and dimensions in a source's files; None if a file is missing."""
    if name not in study.sources.file or missing_files(name):
        return None
    from sdlcore.sources.files.copying import file_shapes  # only here: it loads HDF5

    try:
        return Shape(*file_shapes(FileSource.from_dict(settings_for(FileSource, SimpleNamespace(source=name)))))
    except SourceError as error:
        raise WorkflowError(f"sources.file.{name}: {error}")


# in the main process, before anything runs: after an error in a job's input function Snakemake would use existing files
if workflow.is_main_process:
    is_plan = any(argument.endswith("plan") for argument in sys.argv)  # which lists missing files
    for name in study.all_sources():
        arrays_shape(name)
        if not is_plan and any(Path(RESULTS, folder, name).exists() for folder in ("activations", "runs")):
            refuse_missing_files(name)
