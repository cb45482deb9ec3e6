# Activations from the user's files, shared by all seeds.


rule file_activations:
    """Copy activations from the user's files into stores"""
    input:
        files_of_source,
    output:
        train="<results>/activations/{source}/train.h5",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/file_activations/{source}.log",
    benchmark:
        "<logs>/file_activations/{source}.tsv"
    wildcard_constraints:
        source=to_be_made(study.sources.file),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        source=lambda wildcards: as_json(settings_for(FileSource, wildcards)),
        number=NUMBERS["activations"],
    shell:
        'python "$SCRIPTS"/file_activations.py --source {params.source:q} --train {output.train:q}'
        " --test {output.test:q} > {log:q} 2>&1"
