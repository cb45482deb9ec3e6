# What a configuration takes, before anything runs, and what of it is left: `snakemake plan --cores 1`.


rule plan:
    """What the whole configuration takes, and what of it is left"""
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

    say_what_it_makes(f"plan_{planned_name}", f"What {planned_name} takes, and what of it is left")
