# Tables over runs. Each is one row a method x anchoring x protocol over seeds, the paper's numbers beside ours.


if config["tables"]:

    rule tables:
        input:
            metrics=lambda wildcards: [f"{run}/metrics.json" for run in table_runs(wildcards.table)],
            paper=lambda wildcards: in_checkout(f"resources/paper/{wildcards.table}.csv"),
        output:
            csv="<results>/tables/{table}.csv",
            markdown="<results>/tables/{table}.md",
            latex="<results>/tables/{table}.tex",
            effects="<results>/tables/{table}_effects.csv",
            runs="<results>/tables/{table}_runs.csv",
        log:
            "<logs>/tables/{table}.log",
        benchmark:
            "<logs>/tables/{table}.tsv"
        wildcard_constraints:
            table="|".join(config["tables"]),
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            spec=lambda wildcards: as_json(table_configuration(wildcards.table)),
            code=code_digest("tables"),
        shell:
            'python "$SCRIPTS"/tables.py --table {wildcards.table} --spec {params.spec:q} --paper {input.paper:q}'
            " --metrics {input.metrics:q} --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q}"
            " --effects {output.effects:q} --runs {output.runs:q} > {log:q} 2>&1"

    # Short names: snakemake table1
    for table_name in config["tables"]:

        rule:
            name:
                table_name
            input:
                table_files(table_name),
