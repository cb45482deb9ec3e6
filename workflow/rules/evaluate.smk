# Metrics of one run. Recovery is measured only if the source has true features or class means.
rule evaluate:
    """Evaluate one run"""
    input:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        store=store("test"),
        references=references_file,
        anchors=evaluate_anchors,
    output:
        "<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/metrics.json",
    log:
        "<logs>/evaluate/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/evaluate/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=run_settings_given,
        trained_on=store("train"),
        hierarchy=evaluate_hierarchy,
        number=NUMBERS["evaluate"],
        plugins=evaluate_plugins,
    shell:
        '$PYTHON "$SCRIPTS"/evaluate.py --cell {wildcards.source} {wildcards.method} {wildcards.protocol}'
        " {wildcards.anchoring} {wildcards.seed} --model {input.model}"
        " --settings {params.settings:q} --trained-on {params.trained_on:q} --store {input.store}"
        ' --references {input.references} --anchors {input.anchors} --hierarchy {params.hierarchy:q} --finished "$FINISHED"'
        " --output {output} > {log} 2>&1"
