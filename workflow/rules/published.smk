# Metrics that are kept with the code, in docs/results/NAME/runs: `snakemake publish` puts those of finished runs there,
# `snakemake restore` takes them back where the configuration still says the same, and then tables ask for the rest alone.


rule publish:
    """Keep metrics of finished runs with the code"""
    log:
        "<logs>/publish.log",
    localrule: True
    run:
        say(log[0], publish(FILES, study.cells(), PUBLISHED))


rule restore:
    """Take kept metrics back where settings agree"""
    log:
        "<logs>/restore.log",
    localrule: True
    run:
        say(log[0], restore(FILES, study.cells(), PUBLISHED))
