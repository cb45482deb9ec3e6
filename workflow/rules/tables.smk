# Tables over runs. Each is one row a method x anchoring x protocol over seeds, the paper's numbers beside ours; a table
# that sweeps a parameter has as many for each of its values.


if RUN_TABLES:

    rule tables:
        input:
            metrics=lambda wildcards: [f"{run}/metrics.json" for run in table_runs(wildcards.table)],
            paper=paper_table,
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
            table="|".join(RUN_TABLES),
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            spec=lambda wildcards: as_json(table_configuration(wildcards.table)),
            code=lambda wildcards: code_digest("tables"),
        shell:
            'python "$SCRIPTS"/tables.py --table {wildcards.table} --spec {params.spec:q} --paper {input.paper:q}'
            " --metrics {input.metrics:q} --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q}"
            " --effects {output.effects:q} --runs {output.runs:q} > {log:q} 2>&1"


if SETTINGS_TABLE in config["tables"]:

    rule settings_table:
        input:
            in_checkout(f"resources/paper/{SETTINGS_TABLE}.csv"),
        output:
            csv=f"<results>/tables/{SETTINGS_TABLE}.csv",
            markdown=f"<results>/tables/{SETTINGS_TABLE}.md",
            latex=f"<results>/tables/{SETTINGS_TABLE}.tex",
        log:
            f"<logs>/tables/{SETTINGS_TABLE}.log",
        benchmark:
            f"<logs>/tables/{SETTINGS_TABLE}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            bench=lambda wildcards: as_json(
                {
                    key: bench_settings(SimpleNamespace(source=config["tables"][SETTINGS_TABLE]["source"]))[key]
                    for key in (
                        "n",
                        "n_p",
                        "train_samples",
                        "sparsity",
                        "max_interference",
                    )
                }
            ),
            source=config["tables"][SETTINGS_TABLE]["source"],
            name=config["name"],
            code=lambda wildcards: code_digest("settings_table"),
        shell:
            'python "$SCRIPTS"/settings_table.py --bench {params.bench:q} --source {params.source} --configuration {params.name}'
            " --paper {input:q} --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q} > {log:q} 2>&1"


# Short names: snakemake table1
for table_name in config["tables"]:

    rule:
        name:
            table_name
        input:
            table_files(table_name),
