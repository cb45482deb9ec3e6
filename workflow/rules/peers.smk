# One run that another library trains, in an environment of its own.
rule train_peer:
    """Train one run with another library"""
    input:
        store=store("train"),
        watch=watch_references,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/train_peer/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/train_peer/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(PEERS),
        anchoring="none",
    conda:
        PEERS_ENVIRONMENT
    threads: train_threads
    resources:
        mem_mb=peer_memory,
        runtime=240,
    params:
        settings=run_settings_given,
        number=NUMBERS["peer"],
    shell:
        'command -v "$PEERS_PYTHON" > /dev/null || {{ echo "$PEERS_PYTHON is missing, the interpreter that has other'
        ' libraries: make peers, or set peers_python" | tee {log} >&2; exit 1; }}; "$PEERS_PYTHON" "$SCRIPTS"/train.py'
        " --settings {params.settings:q} --seed {wildcards.seed} --threads {threads} --store {input.store}"
        " --watch {input.watch}"
        ' --finished "$FINISHED" --out "$(dirname {output.model:q})" > {log} 2>&1'
