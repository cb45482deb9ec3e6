# Estimates of time, memory and disk before anything runs, for all jobs and for the remaining ones:
# `snakemake plan --cores 1`.


rule plan:
    """Estimate the cost of the whole configuration, and of its remaining jobs"""
    log:
        "<logs>/plan.log",
    localrule: True
    run:
        say_plan(log[0])


for planned_name in PLANNED:

    rule:
        name:
            f"plan_{planned_name}"
        log:
            f"<logs>/plan/{planned_name}.log",
        localrule: True
        params:
            name=planned_name,
        run:
            say_plan(log[0], params.name)

    say_what_it_makes(f"plan_{planned_name}", f"Estimate the cost of {planned_name}, and of its remaining jobs")
