# Sparse dictionary learning on data whose true features are known, and on real activations.
#
#   snakemake --cores all                                        the default configuration, config/config.yaml
#   snakemake --cores all --configfile config/paper.yaml         another one, merged over it
#   snakemake --cores all table1                                 one table or figure (see `snakemake --list`)
#   snakemake --cores all results/quick/figures/figure8.png      one file
from pathlib import Path

from snakemake.utils import min_version

min_version("9.10")

REPOSITORY = Path(workflow.basedir)


configfile: str(REPOSITORY / "config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/feature_matrix.smk"
include: "workflow/rules/samples.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/anchors.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        # runs too, though tables stand on them: Snakemake does not miss a file that only a finished one was made from
        run_files(),
        [f"{RESULTS}/tables/{table}.csv" for table in config["tables"]],
        [f"{RESULTS}/figures/{figure}.png" for figure in config["figures"]],
        f"{RESULTS}/report.html",


onsuccess:
    if Path(f"{RESULTS}/report.html").exists():
        print(f"Open {RESULTS}/report.html")
