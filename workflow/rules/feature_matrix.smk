# Ground-truth feature matrices of the bench (Appendix C.1).
rule feature_matrix:
    """Draw the ground-truth features of a bench (Appendix C.1)"""
    output:
        "<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
    log:
        "<logs>/feature_matrix/{source}.seed{seed}.log",
    benchmark:
        "<logs>/feature_matrix/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=names_of("bench"),
    conda:
        ENVIRONMENT
    threads: 2  # for matrix products, which read the thread variables that Snakemake sets
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        bench=lambda wildcards: as_json(settings_for(BenchFeatures, wildcards)),
        number=NUMBERS["feature_matrix"],
    shell:
        '$PYTHON "$SCRIPTS"/feature_matrix.py --bench {params.bench:q} --seed {wildcards.seed}'
        " --output {output} > {log} 2>&1"
