# Estimates of time, memory and disk before anything runs, for all jobs and for the remaining ones:
# `snakemake plan --cores 1`.


rule plan:
    """Estimate the cost of the whole configuration, and of its remaining jobs"""
    log:
        "<logs>/plan.log",
    localrule: True
    run:
        say_plan(log[0])
