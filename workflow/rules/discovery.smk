rule discover_anchors:
    """Find anchors in the training data with a solver, without labels"""
    input:
        store("train"),
    output:
        anchors="<results>/anchors/{source}/{anchoring}/seed{seed}.safetensors",
        summary="<results>/anchors/{source}/{anchoring}/seed{seed}.json",
    log:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        anchoring=pattern(DISCOVERED),
    conda:
        ENVIRONMENT
    threads: lambda wildcards: threads_for(discovering(wildcards).n_atoms, discovering(wildcards).batch_size)
    resources:
        mem_mb=lambda wildcards: solver_memory(discovering(wildcards).n_atoms, discovering(wildcards).batch_size),
        runtime=60,
    params:
        settings=discover_settings,
        n_anchors=lambda wildcards: study.anchorings[wildcards.anchoring].n_anchors or "",
        number=NUMBERS["anchors"],
        plugins=lambda wildcards: as_json(discovering(wildcards).plugins),
    shell:
        'python "$SCRIPTS"/discover_anchors.py --settings {params.settings:q} --n-anchors {params.n_anchors} --seed {wildcards.seed}'
        " --threads {threads} --store {input:q} --output {output.anchors:q} --summary {output.summary:q} > {log:q} 2>&1"
