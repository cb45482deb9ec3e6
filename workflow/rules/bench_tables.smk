# Tables of runs on benches that are like any other: on harder benches, and of encoders that can be read.
for bench_table in ("harder", "encoders"):
    if config[bench_table]:

        rule:
            name:
                f"{bench_table}_table"
            input:
                [f"{run}/metrics.json" for run in bench_table_runs(bench_table)],
            output:
                csv=f"<results>/tables/{bench_table}.csv",
                markdown=f"<results>/tables/{bench_table}.md",
            log:
                f"<logs>/tables/{bench_table}.log",
            benchmark:
                f"<logs>/tables/{bench_table}.tsv"
            conda:
                ENVIRONMENT
            threads: 1
            resources:
                mem_mb=1000,
                runtime=5,
            params:
                table=bench_table,
                code=lambda wildcards: code_digest("bench_table"),
            shell:
                'python "$SCRIPTS"/bench_table.py --table {params.table} --metrics {input:q} --csv {output.csv:q}'
                " --markdown {output.markdown:q} > {log:q} 2>&1"

        rule:
            name:
                bench_table
            input:
                bench_table_files(bench_table),
