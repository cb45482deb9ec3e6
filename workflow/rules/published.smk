# Metrics that are kept with the code, in docs/results/NAME/runs. `snakemake publish` copies the metrics of finished runs
# there. `snakemake restore` copies them back for runs with unchanged settings; tables then train only the other runs.


rule publish:
    """Copy the metrics of finished runs to the folder that is kept with the code"""
    log:
        "<logs>/publish.log",
    localrule: True
    run:
        say(log[0], publish(FILES, study.cells(), PUBLISHED))


rule restore:
    """Copy kept metrics back for runs with unchanged settings"""
    log:
        "<logs>/restore.log",
    localrule: True
    run:
        say(log[0], restore(FILES, study.cells(), PUBLISHED))
