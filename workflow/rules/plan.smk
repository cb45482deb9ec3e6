# What the whole configuration takes, before anything runs: `snakemake plan --cores 1`.


rule plan:
    """What the whole configuration takes"""
    log:
        "<logs>/plan.log",
    localrule: True
    run:
        say_plan(log[0])
