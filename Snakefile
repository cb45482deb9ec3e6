# Sparse dictionary learning on data whose true features are known, and on real activations.
#
#   snakemake --cores all                                         the default configuration, config/config.yaml
#   snakemake --cores all --configfile config/paper.yaml          another one, merged over it
#   snakemake table1 --cores all                                  one table or figure (see `snakemake --list`)
#   snakemake results/quick/figures/figure8.png --cores all       one file
include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file cannot set it
