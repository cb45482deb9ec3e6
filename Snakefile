# Sparse dictionary learning on data whose true features are known, and on real activations.
#
#   snakemake --cores all                                         the default configuration, config/config.yaml
#   snakemake --cores all --configfile config/paper.yaml          another one, merged over it
#   snakemake table1 --cores all                                  one table or figure (see `snakemake --list`)
#   snakemake results/quick/figures/figure8.png --cores all       one file
from pathlib import Path

from snakemake.utils import min_version

min_version("9.12")  # the first that has pathvars (tests/workflow/test_snakemake_version.py)

REPOSITORY = Path(workflow.basedir)


configfile: str(REPOSITORY / "config/config.yaml")


include: "workflow/functions/common.smk"
include: "workflow/functions/writable.smk"
include: "workflow/functions/shells.smk"
include: "workflow/functions/sources.smk"
include: "workflow/functions/language.smk"
include: "workflow/functions/clip.smk"
include: "workflow/functions/runs.smk"
include: "workflow/functions/products.smk"
include: "workflow/functions/explain.smk"
include: "workflow/functions/report.smk"


for rules_of_a_stage in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):

    include: str(rules_of_a_stage)


rule all:
    """Every table and figure that the configuration asks for, and the report"""
    default_target: True
    input:
        [file for name in WHOLE for file in product_files(name)],
        f"{RESULTS}/report.html",


# where what was asked for includes the report: one that is there already may be older than what was made
onsuccess:
    if any(job.rule.name == "report" for job in workflow.dag.jobs):
        print(f"Open {RESULTS}/report.html")
