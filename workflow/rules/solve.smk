rule solve:
    """Make one run with a solver, without gradient descent"""
    input:
        store=store("train"),
        start=start_model,
        watch=watch_references,
    output:
        model="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        config="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/config.json",
        history="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/history.csv",
    log:
        "<logs>/solve/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/solve/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        method=pattern(SOLVERS),
        anchoring="none",
    conda:
        ENVIRONMENT
    threads: lambda wildcards: solver_threads(run_of(wildcards))
    resources:
        mem_mb=lambda wildcards: solver_memory(run_of(wildcards)),
        runtime=240,
    params:
        settings=run_settings_given,
        number=NUMBERS["solve"],
        plugins=run_plugins,
    shell:
        '$PYTHON "$SCRIPTS"/train.py --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}'
        " --store {input.store} --start {input.start} --watch {input.watch}"
        ' --finished "$FINISHED" --out "$(dirname {output.model:q})" > {log} 2>&1'
