# Anchors that a solver finds in the training data alone, and the table that compares them with given ones and with none.
rule discover_anchors:
    input:
        store("train"),
    output:
        anchors="<results>/anchors/{source}/{anchoring}/seed{seed}.safetensors",
        found="<results>/anchors/{source}/{anchoring}/seed{seed}.json",
    log:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        anchoring=pattern(DISCOVERED),
    conda:
        ENVIRONMENT
    threads: lambda wildcards: solver_threads(discover_settings(wildcards)["solver"])
    resources:
        mem_mb=lambda wildcards: solver_memory(discover_settings(wildcards)["solver"]),
        runtime=60,
    params:
        settings=lambda wildcards: as_json(discover_settings(wildcards)),
        n_anchors=lambda wildcards: config["anchorings"][wildcards.anchoring]["n_anchors"] or "",
        code=discover_code,
    shell:
        'python "$SCRIPTS"/discover_anchors.py --settings {params.settings:q} --n-anchors {params.n_anchors} --seed {wildcards.seed}'
        " --threads {threads} --store {input:q} --output {output.anchors:q} --found {output.found:q} > {log:q} 2>&1"


if config["discovery"]:

    rule discovery_table:
        input:
            discovery_judge_files(),
            [f"{run}/model.safetensors" for run in discovery_runs()],
            metrics=[f"{run}/metrics.json" for run in discovery_runs()],
        output:
            csv="<results>/tables/discovery.csv",
            runs="<results>/tables/discovery_runs.csv",
            markdown="<results>/tables/discovery.md",
        log:
            "<logs>/tables/discovery.log",
        benchmark:
            "<logs>/tables/discovery.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            judges=as_json(discovery_judges()),
            code=lambda wildcards: code_digest("discovery"),
        shell:
            'python "$SCRIPTS"/discovery.py --judges {params.judges:q} --metrics {input.metrics:q}'
            " --csv {output.csv:q} --table-runs {output.runs:q} --markdown {output.markdown:q} > {log:q} 2>&1"

    rule discovery:
        input:
            [f"{RESULTS}/tables/{name}" for name in ("discovery.csv", "discovery_runs.csv", "discovery.md")],
            run_files(discovery_runs()),
