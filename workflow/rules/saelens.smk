# Synthetic models that SAELens saved.
rule saelens:
    """Write features and draw samples of a synthetic model that SAELens saved"""
    input:
        files_of_source,
    output:
        feature_matrix="<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
        train="<results>/activations/{source}/seed{seed}/train.h5",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/saelens/{source}.seed{seed}.log",
    benchmark:
        "<logs>/saelens/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=to_be_made(study.sources.saelens),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # room for five matrices of 4096 samples times all features
        mem_mb=lambda wildcards: 2000 + study.source(wildcards.source).n // 12,
        runtime=120,
    params:
        source=lambda wildcards: as_json(settings_for(SaelensSource, wildcards)),
        number=NUMBERS["samples"],
    shell:
        'python "$SCRIPTS"/saelens.py --source {params.source:q} --seed {wildcards.seed}'
        " --feature-matrix {output.feature_matrix:q} --train {output.train:q} --test {output.test:q} > {log:q} 2>&1"
