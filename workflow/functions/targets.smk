# What was asked for: a word on what nothing makes, and the files that came of it.
from snakemake.cli import get_argument_parser

from sdlcore.study.configuration.targets import unknown_target


def asked_targets():
    """What the command line asks for, as Snakemake's own parser reads it; nothing where another program runs Snakemake."""
    program = Path(sys.argv[0])
    if "snakemake" not in (program.name, program.parent.name):  # python -m snakemake
        return []
    try:
        return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets
    except (Exception, SystemExit):  # no public function, and no reason to fail
        return []


def only_plans(targets):
    """Whether nothing but plans is asked for, which name what is missing."""
    plans = {workflow.modifier.modify_rulename(name) for name in ("plan", *(f"plan_{name}" for name in PLANNED))}
    return bool(targets) and plans.issuperset(targets)


if workflow.is_main_process and not only_plans(asked_targets()):
    refuse_missing_files()


def is_made(target):
    """Whether there is a rule or a file of that name, or a rule that makes the file."""
    return workflow.is_rule(target) or Path(target).exists() or any(rule.is_producer(target) for rule in workflow.rules)


def refuse_unknown_targets():
    """Say what was meant by a target that nothing makes; Snakemake says only that nothing does."""
    for target in asked_targets():
        if not is_made(target):
            known = [file for name in PRODUCTS for file in product_files(name)] + [f"{RESULTS}/report.html"]
            rules = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
            raise WorkflowError(unknown_target(target, study.name, rules, known, Path(in_checkout("config"))))


def made_files():
    """The files that were asked for: of a table or figure its own, without those of its runs."""
    yield from map(str, workflow.dag.targetfiles)
    asked = {found.name for found in workflow.dag.targetrules} - {"all"}  # whose files the report shows
    for job in workflow.dag.targetjobs:
        if (name := job.rule.name) in asked:
            yield from PRODUCTS[name].outputs(name, FILES) if name in PRODUCTS else map(str, job.output)
