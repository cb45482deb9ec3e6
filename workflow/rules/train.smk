rule train:
    """Train one run by gradient descent"""
    input:
        store=store("train"),
        anchors=train_anchors,
        start=start_model,
        watch=watch_references,
        streamed=streamed_files,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/train/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/train/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(TRAINED_METHODS),
    conda:
        ENVIRONMENT
    threads: train_threads
    resources:
        mem_mb=train_memory,
        runtime=lambda wildcards: 2880 if wildcards.source in STREAMED else 240,
        gpu=lambda wildcards: study.processes * train_gpus(wildcards),
    params:
        settings=run_settings_given,
        environment=lambda wildcards: language_environment(wildcards) if wildcards.source in LANGUAGE_STREAMED else "",
        number=NUMBERS["train"],
        plugins=run_plugins,
    shell:
        '{params.environment} $TRAIN "$SCRIPTS"/train.py --settings {params.settings:q} --seed {wildcards.seed} --device $DEVICE'
        " --split $SPLIT --threads {threads} --store {input.store} --anchors {input.anchors} --start {input.start} --watch {input.watch}"
        ' --finished "$FINISHED" --out "$(dirname {output.model:q})"'
        ' ${{TENSORBOARD:+--tensorboard "$(dirname {output.model:q})/$TENSORBOARD"}} ${{WANDB:+--wandb "$WANDB"}}'
        " > {log} 2>&1"
