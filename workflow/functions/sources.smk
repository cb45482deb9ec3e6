# Stores and settings of sources.
from types import SimpleNamespace

from sdlcore.benches.config import BenchFeatures, BenchSamples, SaelensSource, SynthSource
from sdlcore.extraction.config import ClipSource, LanguageSource
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.plugins.settings import PluginSource

# sources whose samples have classes
LABELLED = [name for name, source in study.all_sources().items() if source.is_labelled]


def settings_for(kind, wildcards):
    """Return the settings of a source that a script's class declares and that differ from its defaults, so that other
    settings do not rerun it."""
    source = study.source(wildcards.source)
    return kind.differing(source.model_dump(include={*kind.model_fields, *(source.model_extra or {})}))


def store(part):
    """Return an input function for the store of a run's source. Benches have a store for each seed."""
    return lambda wildcards: FILES.store(wildcards.source, getattr(wildcards, "seed", 0), part)


def references_file(wildcards):
    """Return the file of a source's true features or class means, or an empty list."""
    return FILES.references(wildcards.source, getattr(wildcards, "seed", 0)) or []


# sources whose training store is extracted in parts; sources whose training rows are never stored
SHARDED = [name for name, source in study.all_sources().items() if source.n_shards > 1]
STREAMED = [name for name, source in study.all_sources().items() if source.is_streamed]
LANGUAGE_STREAMED = [name for name in STREAMED if name in study.sources.language]
SYNTH_STREAMED = [name for name in STREAMED if name in study.sources.synth]


def shard_files(wildcards):
    """Return the parts of a store. An evaluation store is a single part."""
    number = study.source(wildcards.source).n_shards if wildcards.split == "train" else 1
    folder = f"{RESULTS}/activations/{wildcards.source}/{wildcards.split}"
    return [f"{folder}/part-{part:05d}.h5" for part in range(number)]


def part_of_store(wildcards):
    """Return the split and the number of the part that a job extracts, and the number of parts; empty for whole stores."""
    if not hasattr(wildcards, "number"):
        return ""
    return [wildcards.split, int(wildcards.number), study.source(wildcards.source).n_shards]


def kind_of_source(wildcards):
    return study.source(wildcards.source).kind


# the library's settings of sources whose scripts read all of them
SETTINGS_OF_SOURCES = {
    "file": FileSource,
    "plugin": PluginSource,
    "synth": SynthSource,
    "saelens": SaelensSource,
}


def source_settings(wildcards):
    """Return the settings of a source as JSON."""
    return as_json(settings_for(SETTINGS_OF_SOURCES[kind_of_source(wildcards)], wildcards))


def source_plugins(wildcards):
    """Return the digest of the file of the plugin that makes a source's activations, as JSON; empty without a plugin."""
    if wildcards.source not in study.sources.plugin:
        return as_json({})
    return as_json(PluginSource.from_dict(settings_for(PluginSource, wildcards)).plugins)
