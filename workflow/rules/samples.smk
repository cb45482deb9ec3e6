# Samples of the bench, for training and for evaluation (Appendix C.2 and C.3).
rule samples:
    """Draw samples of a bench, for training and for evaluation (Appendix C.2 and C.3)"""
    input:
        lambda wildcards: FILES.feature_matrix(wildcards.source, wildcards.seed),
    output:
        train="<results>/activations/{source}/seed{seed}/train.h5",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/samples/{source}.seed{seed}.log",
    benchmark:
        "<logs>/samples/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=names_of("bench"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        bench=lambda wildcards: as_json(settings_for(BenchSamples, wildcards)),
        number=NUMBERS["samples"],
    shell:
        '$PYTHON "$SCRIPTS"/samples.py --bench {params.bench:q} --seed {wildcards.seed} --feature-matrix {input}'
        " --train {output.train} --test {output.test} > {log} 2>&1"
