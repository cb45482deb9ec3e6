# Targets: errors for unknown ones, and the files that were made for them.
from snakemake.cli import get_argument_parser

from sdlstudy.configuration.targets import unknown_target


def requested_targets():
    """Return the targets on Snakemake's command line; empty if another program runs Snakemake."""
    program = Path(sys.argv[0])
    if "snakemake" not in (program.name, program.parent.name):  # python -m snakemake
        return []
    try:
        return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets
    except (Exception, SystemExit):  # the parser is not public, and this check must not fail a run
        return []


def only_plans(targets):
    """Return whether all targets are plans. Plans list missing files instead of failing."""
    plans = {workflow.modifier.modify_rulename(name) for name in ("plan", *(f"plan_{name}" for name in PLANNED))}
    return bool(targets) and plans.issuperset(targets)


if workflow.is_main_process and not only_plans(requested_targets()):
    refuse_missing_files()


def is_made(target):
    """Return whether a target is the name of a rule, an existing file, or a file that a rule can make."""
    return workflow.is_rule(target) or Path(target).exists() or any(rule.is_producer(target) for rule in workflow.rules)


def refuse_unknown_targets():
    """Refuse unknown targets with a suggestion, which Snakemake's own error lacks."""
    for target in requested_targets():
        if not is_made(target):
            known_files = [file for name in PRODUCTS for file in product_files(name)] + [f"{RESULTS}/report.html"]
            rules = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
            raise WorkflowError(unknown_target(target, study.name, rules, known_files, Path(in_checkout("config"))))


def made_files():
    """Yield the files of the targets. A table or figure counts only its own files, not the files of its runs."""
    yield from map(str, workflow.dag.targetfiles)
    names = {rule.name for rule in workflow.dag.targetrules} - {"all"}  # the report shows the files of all
    for job in workflow.dag.targetjobs:
        if (name := job.rule.name) in names:
            yield from PRODUCTS[name].outputs(FILES) if name in PRODUCTS else map(str, job.output)
