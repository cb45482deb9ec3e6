# Figures, each as PNG and PDF.


if "figure6" in config["figures"]:

    rule figure6:
        input:
            with_=[f"{run}/{file}" for run in figure6_runs("with") for file in ("history.csv", "metrics.json")],
            without=[f"{run}/{file}" for run in figure6_runs("without") for file in ("history.csv", "metrics.json")],
        output:
            png="<results>/figures/figure6.png",
            pdf="<results>/figures/figure6.pdf",
            summary="<results>/tables/figure6.csv",
        log:
            "<logs>/figures/figure6.log",
        benchmark:
            "<logs>/figures/figure6.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            with_=lambda wildcards: figure6_runs("with"),
            without=lambda wildcards: figure6_runs("without"),
            labels=figure6_labels,
            code=code_digest("figure6"),
        shell:
            'python "$SCRIPTS"/figure6.py --with {params.with_:q} --without {params.without:q}'
            " --labels {params.labels:q} --png {output.png:q} --pdf {output.pdf:q} --summary {output.summary:q}"
            " > {log:q} 2>&1"


if "figure8" in config["figures"]:
    FIGURE8_BENCH = f"{config['figures']['figure8']['source']}/seed{config['seeds'][0]}"

    rule figure8:
        input:
            store=f"<results>/activations/{FIGURE8_BENCH}/train.h5",
            feature_matrix=f"<results>/bench/{FIGURE8_BENCH}/feature_matrix.safetensors",
        output:
            png="<results>/figures/figure8.png",
            pdf="<results>/figures/figure8.pdf",
        log:
            "<logs>/figures/figure8.log",
        benchmark:
            "<logs>/figures/figure8.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            code=code_digest("figure8"),
        shell:
            'python "$SCRIPTS"/figure8.py --store {input.store:q} --feature-matrix {input.feature_matrix:q}'
            " --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1"
