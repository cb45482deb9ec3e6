# Language models and texts: from the user's files, from the hub, or from wheels.
import hashlib

from sdlcore.extraction.config import is_hub_model, is_hub_text
from offline.wheels import wheel_path

# files that sources need from wheels: path below the cache's folder of wheels -> reference and checksum
WHEEL_FILES = {}
for settings in study.sources.language.values():
    for key in ("model", "text"):
        if path := wheel_path(reference := getattr(settings, key)):
            file = {"reference": reference, "sha256": getattr(settings, f"{key}_sha256") or ""}
            if WHEEL_FILES.setdefault(path, file) != file:
                raise WorkflowError(
                    f"sources.language: two sources read the same file of a wheel, one {file}, another {WHEEL_FILES[path]};"
                    f" give both the same {key} and {key}_sha256"
                )


def wheel_file(wildcards):
    return WHEEL_FILES[f"{wildcards.wheel}/{wildcards.member}"]


def local_gguf(model):
    """Return the path, below the folder models of the results, for the converted form of a local GGUF file."""
    return f"local-{hashlib.sha256(model.encode()).hexdigest()[:12]}/{Path(model).name}"


GGUF_FILES = {
    local_gguf(settings.model): settings.model
    for settings in study.sources.language.values()
    if settings.model.endswith(".gguf") and wheel_path(settings.model) is None
}


def gguf_file(wildcards):
    """Input function: the GGUF file that a folder below the results' models is converted from."""
    path = f"{wildcards.wheel}/{wildcards.member}"
    return GGUF_FILES.get(path, f"{CACHE}/wheels/{path}")


def language_model(wildcards):
    """Return the folder of a source's model, or its name on the hub."""
    model = study.language(wildcards.source).model
    if path := wheel_path(model):
        return f"{RESULTS}/models/{path}"
    return f"{RESULTS}/models/{local_gguf(model)}" if model.endswith(".gguf") else model


def language_text(wildcards):
    """Return the file or folder of a source's text, or its name on the hub."""
    return study.language(wildcards.source).text_in(CACHE)


def language_model_files(wildcards):
    model = language_model(wildcards)
    return [] if is_hub_model(model) else model


def language_text_files(wildcards):
    text = language_text(wildcards)
    return [] if is_hub_text(text) else text


def language_settings(wildcards):
    """Return the settings of the extraction as JSON."""
    return as_json(settings_for(LanguageSource, wildcards))


def language_buffer_rows(wildcards):
    """Return the option for rows in memory; empty for stored sources, which do not depend on it."""
    return f"--buffer-rows {study.language(wildcards.source).buffer_rows}" if wildcards.source in STREAMED else ""


def language_memory(wildcards):
    """Return the memory for a source's model in megabytes: 3 GB, and twice the weights of a model that exists already.

    For models on the hub, whose size is not known yet, it is enough for 7B parameters in bfloat16."""
    model = language_model(wildcards)
    if is_hub_model(model):
        return 32000
    weights = sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    return 3000 + 2 * weights // 10**6


# sources whose dictionaries the table of language scores compares
SCORED = dict.fromkeys(cell.source for cell in study.language_scores.cells(study)) if study.language_scores else {}


def scored_dictionaries(wildcards):
    """Return the dictionaries that the table of language scores compares on a source."""
    cells = [cell for cell in study.language_scores.cells(study) if cell.source == wildcards.source]
    return [FILES.model(cell) for cell in cells]
