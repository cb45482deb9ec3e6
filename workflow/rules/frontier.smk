# Where methods break: recovery over one setting of a bench after the other.
if config["frontier"]:

    rule frontier_figure:
        input:
            [
                f"{run['folder']}/{file}"
                for run in frontier_runs()
                for file in ("metrics.json", "history.csv", "config.json")
            ],
        output:
            png="<results>/figures/frontier.png",
            pdf="<results>/figures/frontier.pdf",
            csv="<results>/tables/frontier.csv",
        log:
            "<logs>/figures/frontier.log",
        benchmark:
            "<logs>/figures/frontier.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            runs=as_json(frontier_runs()),
            benches=as_json(bench_facts(dict.fromkeys(point.source for point in frontier_points(config)))),
            base=as_json(config["sources"]["bench"][config["frontier"]["source"]]),
            code=lambda wildcards: code_digest("frontier"),
        shell:
            'python "$SCRIPTS"/frontier.py --runs {params.runs:q} --benches {params.benches:q} --base {params.base:q}'
            " --png {output.png:q} --pdf {output.pdf:q} --csv {output.csv:q} > {log:q} 2>&1"

    rule frontier:
        input:
            frontier_files(),
