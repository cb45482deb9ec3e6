# Activations from a plugin, shared by all seeds.
rule plugin_source:
    """Write activations from a plugin into stores"""
    output:
        train="<results>/activations/{source}/train.h5",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/plugin_source/{source}.log",
    benchmark:
        "<logs>/plugin_source/{source}.tsv"
    wildcard_constraints:
        source=names_of("plugin"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        source=lambda wildcards: as_json(settings_for(PluginSource, wildcards)),
        number=NUMBERS["activations"],
        plugins=source_plugins,
    shell:
        'python "$SCRIPTS"/plugin_source.py --source {params.source:q} --train {output.train:q} --test {output.test:q}'
        " > {log:q} 2>&1"
