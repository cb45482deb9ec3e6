# The table of benches that are harder than the paper's.
if config["harder"]:

    rule harder_table:
        input:
            [f"{run}/metrics.json" for run in bench_table_runs("harder")],
        output:
            csv="<results>/tables/harder.csv",
            markdown="<results>/tables/harder.md",
        log:
            "<logs>/tables/harder.log",
        benchmark:
            "<logs>/tables/harder.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            code=lambda wildcards: code_digest("harder"),
        shell:
            'python "$SCRIPTS"/harder.py --metrics {input:q} --csv {output.csv:q} --markdown {output.markdown:q} > {log:q} 2>&1'

    rule harder:
        input:
            bench_table_files("harder"),
