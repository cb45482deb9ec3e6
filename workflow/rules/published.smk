# Metrics that are kept with the code, in docs/results/NAME/runs: `snakemake publish` puts those of finished runs there,
# `snakemake restore` takes them back where the configuration still says the same, and then tables ask for the rest alone.


rule publish:
    log:
        "<logs>/publish.log",
    localrule: True
    run:
        say(log[0], publish(config, all_cells(config), Path(RESULTS), PUBLISHED))


rule restore:
    log:
        "<logs>/restore.log",
    localrule: True
    run:
        say(log[0], restore(config, all_cells(config), PUBLISHED, Path(RESULTS)))
