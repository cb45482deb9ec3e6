# Checks of the user's files: whether they exist, whether they fit the configuration, and whether finished stores can be
# used without them.
from functools import cache
from types import SimpleNamespace

from sdlcore import SourceError
from sdlstudy.configuration.plan import Shape


def own_files(name):
    """Return the user's files and folders that a source reads, except image folders, which the job checks itself."""
    return getattr(study.source(name), "files", [])


def missing_files(name):
    """Return the user's files of a source that do not exist."""
    return [file for file in own_files(name) if not Path(file).exists()]


def files_of_source(wildcards):
    """Input function: the user's files of a source.

    An error if one is missing, because Snakemake would then accept existing stores as up to date."""
    if missing := missing_files(wildcards.source):
        kind = study.source(wildcards.source).kind
        raise WorkflowError(f"sources.{kind}.{wildcards.source}: no such file: {', '.join(missing)}")
    return own_files(wildcards.source)


def as_read(kind, name):
    """Return a source's settings as the dataclass of its extraction."""
    return kind.from_dict(settings_for(kind, SimpleNamespace(source=name)))


def outlives_its_files(name):
    """Return whether a source's files are gone but its stores were made from them, so that later stages can run."""
    source = study.source(name)
    if source.is_streamed or not missing_files(name):
        return False
    from sdlcore.sources.origins import were_made_by  # only here: it loads HDF5

    kind = {**SETTINGS_OF_SOURCES, "language": LanguageSource}[source.kind]
    seeds = study.bench_seeds(name) if source.n_features is not None else [0]
    stores = [FILES.store(name, seed, part) for seed in seeds for part in ("train", "test")]
    return were_made_by(stores, as_read(kind, name))


OUTLIVING = [name for name in study.all_sources() if outlives_its_files(name)]


def to_be_made(names):
    """Return a regular expression that matches the sources whose stores a rule makes.

    Sources that outlive their files get no rule. A rule without inputs would not do, because Snakemake then loses jobs
    that read its outputs."""
    return pattern(name for name in names if name not in OUTLIVING)


def refuse_missing_files():
    """Refuse to reuse results of a source whose files are missing, unless they were made from these files.

    If inputs of a rule are missing, Snakemake accepts its existing outputs as up to date."""
    for name, source in study.all_sources().items():
        missing = [] if name in OUTLIVING else missing_files(name)
        if missing and any(Path(RESULTS, folder, name).exists() for folder in ("activations", "runs")):
            raise WorkflowError(
                f"sources.{source.kind}.{name}: no such file: {', '.join(missing)}. {RESULTS} has results of {name}, but "
                "from another file or other settings; correct the path, or put the file back"
            )


@cache
def arrays_shape(name):
    """Return the numbers of samples and dimensions in a source's files; None if a file is missing."""
    if name not in study.sources.file or missing_files(name):
        return None
    from sdlcore.sources.files.extraction import file_shapes  # only here: it loads HDF5

    try:
        return Shape(*file_shapes(as_read(FileSource, name)))
    except SourceError as error:
        raise WorkflowError(f"sources.file.{name}: {error}")


# in the main process, before anything runs: an error in a job's input function would make Snakemake use existing files
if workflow.is_main_process:
    for name in study.sources.file:
        arrays_shape(name)
