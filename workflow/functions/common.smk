# Shared by all stages: the validated configuration, paths, and functions that track settings. As a param of a rule, the
# number of its stage (NUMBERS) repeats the stage when it is raised.
import json
import sys

sys.path[:0] = [str(REPOSITORY / folder) for folder in ("src", "workflow")]

from sdlcore.identity import NUMBERS
from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, read_given
from sdlstudy.configuration.validation import SAFE, UNSAFE

ENVIRONMENT = str(REPOSITORY / "environment.yml")
PEERS_ENVIRONMENT = str(REPOSITORY / "workflow/envs/peers.yml")
# Snakemake formats paths of environments and scripts as templates, so some characters break them
if UNSAFE.search(str(REPOSITORY)):
    raise WorkflowError(f"{str(REPOSITORY)!r}: expected {SAFE}; move the checkout")
try:
    if workflow.modifier.skip_configfile:  # a module: the importing workflow passes all settings that are not defaults
        user_config = config
    else:  # read again, because Snakemake hides doubled keys and does not separate given settings from defaults
        user_config = read_given(workflow.overwrite_configfiles, workflow.config_settings.config)
    default = load_yaml(REPOSITORY / "config/config.yaml")
    study = configure(user_config, default)
except ConfigError as error:
    raise WorkflowError(str(error))
FILES = study.files(paper=os.path.relpath(REPOSITORY / "resources/paper"))
RESULTS = FILES.results
CACHE = study.cache


# folders that rules refer to as <results>, <logs> and <cache>
pathvars:
    cache=CACHE,
    results=RESULTS,
    logs=f"logs/{study.name}",


def pattern(names):
    """Return a regular expression that matches any of the names; without names, it never matches."""
    return "|".join(names) or "(?!)"


def names_of(kind):
    """Return a regular expression that matches the names of all sources of a kind."""
    return pattern(getattr(study.sources, kind))


wildcard_constraints:
    source=pattern(study.all_sources()),
    method="|".join(study.methods),
    protocol="|".join(study.protocols),
    anchoring="|".join(["none", *study.anchorings]),
    seed=r"\d+",


def as_json(value):
    """Return JSON with sorted keys, because Snakemake compares params as text."""
    return json.dumps(value, sort_keys=True)


def in_checkout(path):
    """Return the relative path of a file in the checkout, so that moving everything to another place reruns nothing."""
    return os.path.relpath(REPOSITORY / path)
