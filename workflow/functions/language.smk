# Language models and texts: from the user's files, from the hub, or from wheels.
import hashlib

from sdlcore import SourceError
from sdlcore.extraction.config import is_hub_model, is_hub_text, model_width
from offline.wheels import wheel_path


def wheel_files():
    """Return the files that sources need from wheels: path below the cache's folder of wheels -> reference, checksum."""
    files = {}
    for name, settings in study.sources.language.items():
        for key in ("model", "text"):
            try:
                path = wheel_path(getattr(settings, key))
            except SourceError as error:
                raise WorkflowError(f"sources.language.{name}.{key}: {error}")
            if path is None:
                continue
            file = {
                "reference": getattr(settings, key),
                "sha256": getattr(settings, f"{key}_sha256") or "",
            }
            if files.setdefault(path, file) != file:
                raise WorkflowError(
                    f"sources.language.{name}.{key}: another source reads the same file of the same wheel as"
                    f" {files[path]}, here it is {file}; make the two agree"
                )
    return files


WHEEL_FILES = wheel_files()


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


def width_of_model(name):
    """Return the width of a source's model; None if it is not here yet, or if a site is a module of unknown width."""
    model = language_model(SimpleNamespace(source=name))
    has_modules = any(site.module for site in study.language(name).sites.values())
    return None if is_hub_model(model) or has_modules else model_width(model)


def language_environment(wildcards):
    """Return environment variables that keep jobs with local models and texts from contacting the hub."""
    on_hub = is_hub_model(language_model(wildcards)) or is_hub_text(language_text(wildcards))
    return "" if on_hub else "HF_HUB_OFFLINE=1"


def language_memory(wildcards):
    """Return the memory for a source's model in megabytes: 3 GB, and twice the weights of a model that exists already.

    For models on the hub, whose size is not known yet, it is enough for 7B parameters in bfloat16."""
    model = language_model(wildcards)
    if is_hub_model(model):
        return 32000
    weights = sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    return 3000 + 2 * weights // 10**6


def language_minutes(wildcards):
    """Return the time limit of an extraction in minutes, for 20,000 tokens a minute: generous even on a CPU."""
    settings = study.language(wildcards.source)
    rows = settings.test_samples if settings.stream else settings.train_samples // settings.shards
    return max(120, rows // 20000)


# sources whose dictionaries the table of language scores compares
SCORED = study.language_scores.entries() if study.language_scores else {}


def scored_dictionaries(wildcards):
    """Return the dictionaries that the table of language scores compares on a source."""
    cells = [cell for cell in study.language_scores.cells(study) if cell.source == wildcards.source]
    return [FILES.model(cell) for cell in cells]
