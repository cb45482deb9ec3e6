# One run whose dictionary is solved for, and the table of such runs.
rule solve:
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
    threads: lambda wildcards: solver_threads(solve_settings(wildcards))
    resources:
        mem_mb=lambda wildcards: solver_memory(solve_settings(wildcards)),
        runtime=240,
    params:
        settings=lambda wildcards: used_settings(solve_settings(wildcards)),
        code=lambda wildcards: code_digest("solve", *as_run(solve_settings(wildcards)).parts),
    shell:
        '$PYTHON "$SCRIPTS"/solve.py --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}'
        " --store {input.store} --start {input.start} --watch {input.watch}"
        ' --finished "$FINISHED" --model {output.model} --config {output.config} --history {output.history} > {log} 2>&1'


if config["solvers"]:

    rule solvers_table:
        input:
            metrics=[f"{run}/metrics.json" for run in bench_table_runs("solvers")],
            histories=[f"{run}/history.csv" for run in bench_table_runs("solvers")],
            configs=[f"{run}/config.json" for run in bench_table_runs("solvers")],
        output:
            csv="<results>/tables/solvers.csv",
            markdown="<results>/tables/solvers.md",
        log:
            "<logs>/tables/solvers.log",
        benchmark:
            "<logs>/tables/solvers.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            benches=as_json(bench_facts(config["solvers"]["runs"])),
            code=lambda wildcards: code_digest("solvers"),
        shell:
            'python "$SCRIPTS"/solvers.py --benches {params.benches:q} --metrics {input.metrics:q}'
            " --csv {output.csv:q} --markdown {output.markdown:q} > {log:q} 2>&1"

    rule solvers:
        input:
            bench_table_files("solvers"),
