# A verdict on each number of the paper's tables, whichever of them are run here, and on what it claims in words.


rule verdicts:
    input:
        runs=[f"<results>/tables/{table}_runs.csv" for table in JUDGED_HERE],
        figure6="<results>/tables/figure6.csv" if "figure6" in config["figures"] else [],
        paper=[in_checkout(f"resources/paper/{table}.csv") for table in JUDGED],
    output:
        verdicts="<results>/tables/verdicts.csv",
        verdicts_markdown="<results>/tables/verdicts.md",
        claims="<results>/tables/claims.csv",
        claims_markdown="<results>/tables/claims.md",
    log:
        "<logs>/tables/verdicts.log",
    benchmark:
        "<logs>/tables/verdicts.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        config=as_json(verdict_configuration()),
        code=lambda wildcards: code_digest("verdicts"),
    shell:
        'python "$SCRIPTS"/verdicts.py --config {params.config:q} --paper {input.paper:q} --runs {input.runs:q}'
        " --figure6 {input.figure6:q} --verdicts {output.verdicts:q} --verdicts-markdown {output.verdicts_markdown:q}"
        " --claims {output.claims:q} --claims-markdown {output.claims_markdown:q} > {log:q} 2>&1"
