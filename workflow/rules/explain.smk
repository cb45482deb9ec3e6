# The search for the protocol behind Table 1 (docs/results/explain). It takes hours, so it has to be a target of its own.
rule looks:
    """Some protocols of the search, trained and looked at"""
    input:
        lambda wildcards: stage_of(wildcards).protocols,
    output:
        "<results>/looks/{stage}/{first}.csv",
    log:
        "<logs>/looks/{stage}.{first}.log",
    benchmark:
        "<logs>/looks/{stage}.{first}.tsv"
    wildcard_constraints:
        stage=pattern(STAGES),
        first=r"\d+",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards: 3000 if stage_of(wildcards).scale == "quarter" else 8000,
        runtime=240,
    params:
        scale=lambda wildcards: stage_of(wildcards).scale,
        table=lambda wildcards: stage_of(wildcards).table,
        rows=lambda wildcards: stage_of(wildcards).of_table(FILES)[0],
        values=lambda wildcards: stage_of(wildcards).of_table(FILES)[1],
        seeds=lambda wildcards: stage_of(wildcards).seeds,
        numbers=lambda wildcards: stage_of(wildcards).numbers(int(wildcards.first)),
        code=lambda wildcards: code_digest("explain", *EXPLAIN_PARTS),
    shell:
        'python "$SCRIPTS"/explain.py --protocols {input:q} --numbers {params.numbers} --scale {params.scale} --table {params.table}'
        " --values {params.values} --rows {params.rows:q} --seeds {params.seeds} --threads {threads} --output {output:q} > {log:q} 2>&1"
