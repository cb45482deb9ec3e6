# Activations from the user's files or from a plugin, shared by all seeds.
rule given_activations:
    """Write activations from the user's files, or from a plugin, into stores"""
    input:
        files_of_source,
    output:
        train="<results>/activations/{source}/train.h5",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/given_activations/{source}.log",
    benchmark:
        "<logs>/given_activations/{source}.tsv"
    wildcard_constraints:
        source=pattern([*study.sources.file, *study.sources.plugin]),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        kind=kind_of_source,
        source=source_settings,
        number=NUMBERS["activations"],
        plugins=source_plugins,
    shell:
        'python "$SCRIPTS"/given_activations.py --kind {params.kind} --source {params.source:q}'
        " --train {output.train:q} --test {output.test:q} > {log:q} 2>&1"
