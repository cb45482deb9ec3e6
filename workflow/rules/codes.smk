# One run whose codes are searched for on the rows of a trained dictionary (docs/better-codes.md).
rule codes:
    """Make one run by a search for codes, on the rows of a training"""
    input:
        store=store("train"),
        start=start_model,
        streamed=streamed_files,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/codes/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/codes/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(CODES),
        anchoring="none",
    conda:
        ENVIRONMENT
    threads: of_start(train_threads)
    resources:
        mem_mb=of_start(train_memory),
        runtime=2880,
        gpu=lambda wildcards: train_gpus(wildcards) if wildcards.source in LANGUAGE_STREAMED else 0,
    params:
        settings=run_settings_given,
        environment=lambda wildcards: language_environment(wildcards) if wildcards.source in LANGUAGE_STREAMED else "",
        number=NUMBERS["codes"],
    shell:
        '{params.environment} $PYTHON "$SCRIPTS"/codes.py --settings {params.settings:q} --seed {wildcards.seed} --device $DEVICE'
        " --threads {threads} --store {input.store} --start {input.start}"
        ' --finished "$FINISHED" --out "$(dirname {output.model:q})" > {log} 2>&1'
