# What all stages share: the validated configuration, paths, and the means to track settings and code.
import json
import logging
import sys
from functools import cache

sys.path.insert(0, str(REPOSITORY / "src"))

from sdlcore.study.configuration.loading import ConfigError, configure, load_yaml, read_given
from sdlcore.study.configuration.yaml_files import unfit_text
from sdlcore.study.settings import old_keys
from sdlcore.storage.digest import source_digest

SCRIPTS = REPOSITORY / "workflow/scripts"
ENVIRONMENT = str(REPOSITORY / "environment.yml")
PEERS_ENVIRONMENT = str(REPOSITORY / "workflow/envs/peers.yml")
# Snakemake formats paths of environments and scripts, too
if problem := unfit_text(str(REPOSITORY)):
    raise WorkflowError(f"{str(REPOSITORY)!r}: expected a path of the checkout {problem}; move it")
try:
    # every job reads the configuration again, and one notice of a deprecated key is enough
    logging.getLogger(old_keys.__name__).disabled = not workflow.is_main_process
    if workflow.modifier.skip_configfile:  # a module, whose importer gives it all that there is beside the default
        given = config
    else:  # read again, since Snakemake takes the last of doubled keys and does not say what was given beside the default
        given = read_given(workflow.overwrite_configfiles, workflow.config_settings.config)
    default = load_yaml(REPOSITORY / "config/config.yaml")
    study = configure(given, default)
except ConfigError as error:
    raise WorkflowError(str(error))
FILES = study.files(paper=os.path.relpath(REPOSITORY / "resources/paper"))
RESULTS = FILES.results
CACHE = study.cache


# Snakemake keeps its records beside results/, not in it. Without them it goes by times, which `cp -r` makes those of copying
if workflow.is_main_process and any(Path(RESULTS, "activations").rglob("*.h5")):
    if not any(Path(".snakemake/metadata").glob("*")):
        print(
            f"{RESULTS} was copied here without the folder .snakemake, so that Snakemake goes by the times of files alone."
            " To keep all that is there, run this command once with --touch --forceall; to copy without this, copy .snakemake, too.",
            file=sys.stderr,
        )


# <results>, <logs> and <cache> in the rules
pathvars:
    cache=CACHE,
    results=RESULTS,
    logs=f"logs/{study.name}",


def pattern(names):
    """A pattern of names, or of nothing."""
    return "|".join(names) or "(?!)"


def names_of(*kinds):
    """A pattern of the names of the sources of some kinds."""
    return pattern(name for kind in kinds for name in getattr(study.sources, kind))


wildcard_constraints:
    source=pattern(study.all_sources()),
    method="|".join(study.methods),
    protocol="|".join(study.protocols),
    anchoring="|".join(["none", *study.anchorings]),
    seed=r"\d+",


def as_json(value):
    """JSON that is the same text for the same content, since Snakemake compares params as text."""
    return json.dumps(value, sort_keys=True)


# a plan of hundreds of runs would parse the same files as often. Rules ask by functions of wildcards, since what runs one
# job on a node reads all rules, and needs the digest of one
@cache
def code_digest(script, *parts):
    """Digest of a script and all of sdlcore that it imports: as a param, it reruns the stage when that code changes.

    `parts` are modules that it imports by names in its settings. What reads dictionaries needs none of their parts:
    where one changes, they are made anew."""
    return source_digest(SCRIPTS / f"{script}.py", REPOSITORY / "src", parts)


def in_checkout(path):
    """The way to a file of the checkout from the working directory: a checkout that is moved makes nothing anew."""
    return os.path.relpath(REPOSITORY / path)
