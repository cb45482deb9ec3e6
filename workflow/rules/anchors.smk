# Anchor directions (section 4.1), and class means: anchors for labelled activations are drawn from them.
rule class_means:
    """Compute the means of classes, which become anchors"""
    input:
        "<results>/activations/{source}/train.h5",
    output:
        references="<results>/references/{source}.safetensors",
        classes="<results>/tables/{source}_classes.csv",
    log:
        "<logs>/class_means/{source}.log",
    benchmark:
        "<logs>/class_means/{source}.tsv"
    wildcard_constraints:
        source=pattern(LABELLED),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda wildcards: as_json(study.class_means(wildcards.source).to_dict()),
        number=NUMBERS["class_means"],
    shell:
        '$PYTHON "$SCRIPTS"/class_means.py --settings {params.settings:q} --store {input:q}'
        " --references {output.references:q} --classes {output.classes:q} > {log:q} 2>&1"


rule anchors:
    """Draw anchor directions from true features or class means (section 4.1)"""
    input:
        references_file,
    output:
        "<results>/anchors/{source}/{anchoring}/seed{seed}.safetensors",
    log:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        anchoring=pattern(GIVEN),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        n_anchors=lambda wildcards: study.anchorings[wildcards.anchoring].n_anchors,
        first=anchors_first,
        number=NUMBERS["anchors"],
    shell:
        '$PYTHON "$SCRIPTS"/anchors.py --n-anchors {params.n_anchors} --seed {wildcards.seed} --first {params.first}'
        " --references {input} --output {output} > {log} 2>&1"
