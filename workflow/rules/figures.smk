# Figures, each as PNG and PDF.


if "figure4" in config["figures"]:

    rule figure4:
        input:
            judged_files("figure4"),
        output:
            png="<results>/figures/figure4.png",
            pdf="<results>/figures/figure4.pdf",
            summary="<results>/tables/figure4.csv",
        log:
            "<logs>/figures/figure4.log",
        benchmark:
            "<logs>/figures/figure4.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            runs=as_json(judged_runs("figure4")),
            names=[config["figures"]["figure4"][name] for name in ("method", "source")],
            code=lambda wildcards: code_digest("figure4"),
        shell:
            'python "$SCRIPTS"/figure4.py --runs {params.runs:q} --names {params.names:q}'
            " --png {output.png:q} --pdf {output.pdf:q} --summary {output.summary:q} > {log:q} 2>&1"


if "figure5" in config["figures"]:

    rule figure5:
        input:
            judged_files("figure5"),
        output:
            png="<results>/figures/figure5.png",
            pdf="<results>/figures/figure5.pdf",
            summary="<results>/tables/figure5.csv",
        log:
            "<logs>/figures/figure5.log",
        benchmark:
            "<logs>/figures/figure5.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            runs=as_json(judged_runs("figure5")),
            hierarchy=as_json(config["sources"]["bench"][config["figures"]["figure5"]["source"]]["hierarchy"]),
            code=lambda wildcards: code_digest("figure5"),
        shell:
            'python "$SCRIPTS"/figure5.py --runs {params.runs:q} --hierarchy {params.hierarchy:q}'
            " --png {output.png:q} --pdf {output.pdf:q} --summary {output.summary:q} > {log:q} 2>&1"


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
            code=lambda wildcards: code_digest("figure6"),
        shell:
            'python "$SCRIPTS"/figure6.py --with-resampling {params.with_:q} --without-resampling {params.without:q}'
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
            code=lambda wildcards: code_digest("figure8"),
        shell:
            'python "$SCRIPTS"/figure8.py --store {input.store:q} --feature-matrix {input.feature_matrix:q}'
            " --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1"


if TOP_IMAGES_ASKED:

    # Figures 9 and 10: the same but for the run that they show.
    rule top_images:
        input:
            model=lambda wildcards: f"{top_images_run(wildcards.figure)}/model.safetensors",
            store=lambda wildcards: f"{RESULTS}/activations/{config['figures'][wildcards.figure]['source']}/test.h5",
            references=lambda wildcards: top_images_files(wildcards.figure)["references"],
            anchors=lambda wildcards: top_images_files(wildcards.figure)["anchors"],
        output:
            png="<results>/figures/{figure}.png",
            pdf="<results>/figures/{figure}.pdf",
            summary="<results>/tables/{figure}.csv",
        log:
            "<logs>/figures/{figure}.log",
        benchmark:
            "<logs>/figures/{figure}.tsv"
        wildcard_constraints:
            figure="|".join(TOP_IMAGES_ASKED),
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=4000,
            runtime=30,
        params:
            images=lambda wildcards: image_folder(top_images_cell(config, wildcards.figure), "test"),
            settings=lambda wildcards: as_json(top_images_settings(wildcards.figure)),
            code=lambda wildcards: code_digest("top_images"),
        shell:
            'python "$SCRIPTS"/top_images.py --model {input.model:q} --store {input.store:q} --images {params.images:q}'
            " --references {input.references:q} --anchors {input.anchors:q} --settings {params.settings:q}"
            " --png {output.png:q} --pdf {output.pdf:q} --summary {output.summary:q} > {log:q} 2>&1"

    # Short names: snakemake figure9
    for figure_name in TOP_IMAGES_ASKED:

        rule:
            name:
                figure_name
            input:
                figure_files(figure_name),


if SWEEPS:

    # Recovery over what a table sweeps, named after the table.
    rule sweep:
        input:
            "<results>/tables/{table}.csv",
        output:
            png="<results>/figures/{table}.png",
            pdf="<results>/figures/{table}.pdf",
        log:
            "<logs>/figures/{table}.log",
        benchmark:
            "<logs>/figures/{table}.tsv"
        wildcard_constraints:
            table="|".join(SWEEPS),
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            code=lambda wildcards: code_digest("sweep"),
        shell:
            'python "$SCRIPTS"/sweep.py --table {input:q} --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1'


if FEATURE_FILES:

    # Of Table 1's dictionaries: what they recover feature by feature.
    rule features:
        input:
            list(dict.fromkeys(file for pair in FEATURE_PAIRS for name, file in pair.items() if name != "method")),
        output:
            png="<results>/figures/features.png",
            pdf="<results>/figures/features.pdf",
            table="<results>/tables/features.csv",
        log:
            "<logs>/figures/features.log",
        benchmark:
            "<logs>/figures/features.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=4000,
            runtime=15,
        params:
            pairs=as_json(FEATURE_PAIRS),
            code=lambda wildcards: code_digest("features"),
        shell:
            'python "$SCRIPTS"/features.py --pairs {params.pairs:q}'
            " --png {output.png:q} --pdf {output.pdf:q} --table {output.table:q} > {log:q} 2>&1"


if "convergence" in config["figures"]:

    rule convergence:
        input:
            [run["history"] for run in convergence_runs()],
        output:
            png="<results>/figures/convergence.png",
            pdf="<results>/figures/convergence.pdf",
            table="<results>/tables/convergence.csv",
        log:
            "<logs>/figures/convergence.log",
        benchmark:
            "<logs>/figures/convergence.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            runs=as_json(convergence_runs()),
            code=lambda wildcards: code_digest("convergence"),
        shell:
            'python "$SCRIPTS"/convergence.py --runs {params.runs:q}'
            " --png {output.png:q} --pdf {output.pdf:q} --table {output.table:q} > {log:q} 2>&1"
