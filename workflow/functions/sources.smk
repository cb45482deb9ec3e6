# Sources of activations, their stores, and what those hang on.
from dataclasses import fields
from types import SimpleNamespace

from sdlcore.sources.bench.settings import BenchFeatures, BenchSamples
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.images.settings import ClipSource
from sdlcore.sources.language.settings import LlamaSource
from sdlcore.study.configuration.run_keys import is_labelled, source_kind

# sources whose samples have classes
LABELLED = {
    source: settings
    for kind in config["sources"].values()
    for source, settings in kind.items()
    if is_labelled(settings)
}


def settings_for(kind, settings):
    """Return those of some settings that a dataclass has, as a script takes them."""
    return {field.name: settings[field.name] for field in fields(kind)}


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


def references_file(wildcards):
    """The directions that runs of a source are judged against, where there are any."""
    if is_bench(wildcards.source):
        return f"{RESULTS}/bench/{wildcards.source}/seed{wildcards.seed}/feature_matrix.safetensors"
    return f"{RESULTS}/references/{wildcards.source}.safetensors" if wildcards.source in LABELLED else []


EXTRACTED_BY = {"clip": ClipSource, "llama": LlamaSource, "file": FileSource}


def extraction_settings(wildcards):
    """What a source extracts. A change of anything else must not extract anew."""
    kind = source_kind(config, wildcards.source)
    return settings_for(EXTRACTED_BY[kind], config["sources"][kind][wildcards.source])


# sources whose training store is extracted in parts, and those whose training rows are never stored
EXTRACTED = {name: settings for kind in ("clip", "llama") for name, settings in config["sources"][kind].items()}
SHARDED = [name for name, settings in EXTRACTED.items() if settings["shards"] > 1]
STREAMED = [name for name, settings in config["sources"]["llama"].items() if settings["stream"]]


def n_shards(source, split):
    return EXTRACTED[source]["shards"] if split == "train" else 1


def shard_files(source, split, suffix):
    numbers = range(n_shards(source, split))
    return [f"{RESULTS}/activations/{source}/{split}/part-{number:05d}.{suffix}" for number in numbers]


def array_files(wildcards):
    """Files of a source of kind file. Snakemake itself would take stores of files that are gone for good ones."""
    files = FileSource.from_dict(extraction_settings(wildcards)).files
    missing = [file for file in files if not Path(file).exists()]
    if missing:
        raise WorkflowError(f"sources.file.{wildcards.source}: no such file: {', '.join(missing)}")
    return files


def extraction_memory(source):
    """Megabytes that a job of a source's extraction asks for, where it runs a model."""
    if source in config["sources"]["llama"]:
        return language_memory(SimpleNamespace(source=source))
    return CLIP_MEMORY if source in config["sources"]["clip"] else None
