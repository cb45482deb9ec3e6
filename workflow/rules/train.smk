# Runs: dictionaries that are trained, solved for, imported (docs/exporting.md), or given codes by search
# (docs/better-codes.md). scripts/train.py distinguishes them by their settings.
rule train:
    """Make one run: train a dictionary, solve for it, import it, or search for codes"""
    input:
        store=store("train"),
        anchors=train_anchors,
        start=start_model,
        watch=watch_references,
        imported=imported_files,
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
        method=pattern(name for name in study.methods if name not in PEERS),
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        mem_mb=run_memory,
        runtime=run_minutes,
        gpu=run_gpus,
    params:
        settings=run_settings_given,
        python=run_python,
        number=run_number,
        plugins=lambda wildcards: as_json(plugins_of(wildcards)),
    shell:
        '{params.python} "$SCRIPTS"/train.py --settings {params.settings:q} --seed {wildcards.seed}'
        " --device $DEVICE --threads {threads} --store {input.store}"
        " --anchors {input.anchors} --start {input.start} --watch {input.watch}"
        ' --finished "$FINISHED" --out "$(dirname {output.model:q})"'
        ' ${{TENSORBOARD:+--tensorboard "$(dirname {output.model:q})/$TENSORBOARD"}} ${{WANDB:+--wandb "$WANDB"}}'
        " > {log} 2>&1"


# Other libraries train in an environment of their own.
use rule train as train_peer with:
    log:
        "<logs>/train_peer/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/train_peer/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(PEERS),
        anchoring="none",
    conda:
        PEERS_ENVIRONMENT
