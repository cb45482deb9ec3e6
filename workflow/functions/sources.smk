# Stores and settings of sources.
from dataclasses import fields
from types import SimpleNamespace

from sdlcore.sources.bench.settings import BenchFeatures, BenchSamples
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.images.settings import ClipSource
from sdlcore.sources.language.hub_names import is_hub_model, is_hub_text
from sdlcore.sources.language.settings import LlamaSource
from sdlcore.sources.plugins.settings import PluginSource
from sdlcore.sources.saelens.settings import SaelensSource
from sdlcore.sources.synth.settings import SynthSource
from sdlcore.sources.wheels import PREFIX
from sdlcore.storage.parsing import SourceError
from sdlcore.study.configuration.plan import Shape
from sdlcore.study.configuration.validation import batches_beyond_rows

# sources whose samples have classes
LABELLED = [name for name, source in study.all_sources().items() if source.is_labelled]


def settings_for(kind, wildcards):
    """Return those of a source's settings that a dataclass has, as a script takes them; a change of others makes nothing anew."""
    return study.source(wildcards.source).model_dump(include={field.name for field in fields(kind)})


def store(part):
    """Input function: the store of a run's source, drawn anew for each seed where it is a bench's."""
    return lambda wildcards: FILES.store(wildcards.source, getattr(wildcards, "seed", 0), part)


def references_file(wildcards):
    """The directions that runs of a source are judged against, where there are any."""
    return FILES.references(wildcards.source, getattr(wildcards, "seed", 0)) or []


# sources whose training store is extracted in parts, and those whose training rows are never stored
SHARDED = [name for name, source in study.all_sources().items() if source.n_shards > 1]
STREAMED = [name for name, source in study.all_sources().items() if source.is_streamed]


def n_shards(source, split):
    return study.source(source).n_shards if split == "train" else 1


def shard_files(source, split, suffix):
    numbers = range(n_shards(source, split))
    return [f"{RESULTS}/activations/{source}/{split}/part-{number:05d}.{suffix}" for number in numbers]


def own_files(name):
    """Files and folders of one's own that a source is made from; those of images, its job looks for."""
    source = study.source(name)
    if source.kind == "file":
        return source.files
    if source.kind == "llama":
        model, text = source.model, source.text
        taken = [model] * (not is_hub_model(model)) + [text] * (not is_hub_text(text))
        return [reference for reference in taken if not reference.startswith(PREFIX)]
    if source.kind == "saelens":
        from sdlcore.sources.saelens.model import model_files  # only here: it loads scipy

        return model_files(source.model)
    return []


def missing_files(name):
    """Those of them that are not there."""
    return [file for file in own_files(name) if not Path(file).exists()]


OF_OWN_FILES = {"file": FileSource, "llama": LlamaSource, "saelens": SaelensSource}


def outlives_its_files(name):
    """Whether a source's files are gone, and its stores were made from them: what is made from these needs no more."""
    if study.source(name).is_streamed or not missing_files(name):
        return False
    from sdlcore.study.configuration.origins import were_made_by  # only here: it loads HDF5

    kind = OF_OWN_FILES[study.source(name).kind]
    seeds = study.bench_seeds(name) if study.source(name).n_features is not None else [0]
    stores = [FILES.store(name, seed, part) for seed in seeds for part in ("train", "test")]
    return were_made_by(stores, kind.from_dict(settings_for(kind, SimpleNamespace(source=name))))


# no rule makes their stores, and none without inputs either, since Snakemake loses jobs that take what such rules make
OUTLIVING = [name for name in study.all_sources() if outlives_its_files(name)]


def refuse_missing_files():
    """Refuse results that would be taken for those of files that are not there.

    Where a rule lacks its inputs, Snakemake takes the outputs that are there for good ones."""
    for name, source in study.all_sources().items():
        missing = [] if name in OUTLIVING else missing_files(name)
        if missing and any(Path(RESULTS, folder, name).exists() for folder in ("activations", "runs")):
            raise WorkflowError(
                f"sources.{source.kind}.{name}: no such file: {', '.join(missing)}. {RESULTS} has results of {name}, but "
                "not of such a file with these settings; correct the path, or put the file back"
            )


def array_files(wildcards):
    """Files of a source of kind file. Snakemake itself would take stores of files that are gone for good ones."""
    if missing := missing_files(wildcards.source):
        raise WorkflowError(f"sources.file.{wildcards.source}: no such file: {', '.join(missing)}")
    return study.file(wildcards.source).files


def read_arrays(read, name):
    """What a function reads of the files of a source of kind file; what the extraction would refuse is refused."""
    try:
        return read(FileSource(**settings_for(FileSource, SimpleNamespace(source=name))))
    except SourceError as error:
        raise WorkflowError(f"sources.file.{name}: {error}")


def check_arrays(name):
    """Refuse what jobs would: batches larger than the files, and more anchors than classes."""
    from sdlcore.sources.files.extraction import count_classes  # only here: it loads HDF5

    shape = arrays_shape(name)
    for problem in batches_beyond_rows(study, name, shape.rows[0], shape.widths[0]):
        raise WorkflowError(problem)
    classes = read_arrays(count_classes, name)
    if classes is not None and classes < 2:
        raise WorkflowError(
            f"sources.file.{name}: its labels name {classes} class{'' if classes else 'es'}, but means of classes need "
            "two or more; leave labels out"
        )
    for anchoring in sorted({cell.anchoring for cell in study.cells() if cell.source == name} - {"none"}):
        anchors = study.anchorings[anchoring]
        if classes is not None and anchors.discover is None and anchors.n_anchors > classes:
            raise WorkflowError(
                f"anchorings.{anchoring}.n_anchors: {anchors.n_anchors} anchors, but labels of sources.file.{name} name "
                f"{classes} classes; lower it"
            )


@cache
def arrays_shape(name):
    """Samples and dimensions of a source, as the headers of its files say; None where one is not there."""
    if study.file(name) is None or missing_files(name):
        return None
    from sdlcore.sources.files.extraction import shapes  # only here: it loads HDF5

    return Shape(*read_arrays(shapes, name))


def synthetic_model_files(wildcards):
    """Files of a synthetic model of SAELens."""
    from sdlcore.sources.saelens.model import model_files  # only here: it loads scipy

    files = model_files(study.source(wildcards.source).model)
    if missing := [file for file in files if not Path(file).exists()]:
        raise WorkflowError(f"sources.saelens.{wildcards.source}: no such file: {', '.join(missing)}")
    return files


def check_synthetic_model(name):
    """Refuse a synthetic model that the job would refuse, by its configuration alone."""
    from sdlcore.sources.saelens.model import model_files, read_config  # only here: it loads scipy

    source = SaelensSource(**settings_for(SaelensSource, SimpleNamespace(source=name)))
    if not all(Path(file).exists() for file in model_files(source.model)):
        return
    try:
        read_config(source)
    except SourceError as error:
        raise WorkflowError(f"sources.saelens.{name}: {error}")


# before anything runs, and not where a job asks: Snakemake would take what is there already for files without a rule
if workflow.is_main_process:
    for name in study.sources.file:
        if not missing_files(name):
            check_arrays(name)
    for name in study.sources.saelens:
        check_synthetic_model(name)


def plugin_parts(wildcards):
    """The plugin that gives a source's activations."""
    return PluginSource.from_dict(settings_for(PluginSource, wildcards)).parts


def extraction_memory(source):
    """Megabytes that a job of a source's extraction asks for, where it runs a model."""
    if study.llama(source):
        return language_memory(SimpleNamespace(source=source))
    return CLIP_MEMORY if study.clip(source) else None
