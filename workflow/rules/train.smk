# One run: a dictionary trained by gradient descent.
rule train:
    input:
        store=store("train"),
        anchors=train_anchors,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/train/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/train/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: train_threads
    resources:
        mem_mb=6000,
        runtime=240,
        gpu=train_gpus,
    params:
        settings=lambda wildcards: as_json(train_settings(wildcards)),
        anchors=lambda wildcards: "" if wildcards.anchoring == "none" else "--anchors",
        code=code_digest("train"),
    shell:
        'python "$SCRIPTS"/train.py --settings {params.settings:q} --seed {wildcards.seed} --device $DEVICE'
        " --threads {threads} --store {input.store} {params.anchors} {input.anchors}"
        " --model {output.model} --config {output.config} --history {output.history}"
        ' ${{TENSORBOARD:+--tensorboard "$(dirname {output.model:q})/$TENSORBOARD"}} ${{WANDB:+--wandb "$WANDB"}}'
        " > {log} 2>&1"
