# Targets, and the files that were made for them.
from snakemake.cli import get_argument_parser


def requested_targets():
    """Return the targets on Snakemake's command line; empty if another program runs Snakemake."""
    program = Path(sys.argv[0])
    if "snakemake" not in (program.name, program.parent.name):  # python -m snakemake
        return []
    try:
        return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets
    except (Exception, SystemExit):  # the parser is not public, and this check must not fail a run
        return []


# plans list missing files instead of failing
if workflow.is_main_process and requested_targets() != [workflow.modifier.modify_rulename("plan")]:
    refuse_missing_files()


def made_files():
    """Yield the files of the targets. A table or figure counts only its own files, not the files of its runs."""
    yield from map(str, workflow.dag.targetfiles)
    names = {rule.name for rule in workflow.dag.targetrules} - {"all"}  # the report shows the files of all
    for job in workflow.dag.targetjobs:
        if (name := job.rule.name) in names:
            yield from PRODUCTS[name].outputs(FILES) if name in PRODUCTS else map(str, job.output)
