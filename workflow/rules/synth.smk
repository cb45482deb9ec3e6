# Benches with the distribution of SynthSAEBench, and synthetic models that SAELens saved.
rule synth:
    """Write features and draw samples of a bench like SynthSAEBench, or of a model that SAELens saved"""
    input:
        files_of_source,
    output:
        feature_matrix="<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
        train="<results>/activations/{source}/seed{seed}/train.h5",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/synth/{source}.seed{seed}.log",
    benchmark:
        "<logs>/synth/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=pattern(name for name in [*study.sources.synth, *study.sources.saelens] if name not in SYNTH_STREAMED),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # room for five matrices of 4096 samples times all features
        mem_mb=lambda wildcards: 2000 + study.source(wildcards.source).n // 12,
        runtime=120,
    params:
        kind=kind_of_source,
        source=source_settings,
        number=NUMBERS["samples"],
    shell:
        'python "$SCRIPTS"/synth.py --kind {params.kind} --source {params.source:q} --seed {wildcards.seed}'
        " --feature-matrix {output.feature_matrix:q} --train {output.train:q} --test {output.test:q} > {log:q} 2>&1"


# Trainings draw their samples from a recipe, a small JSON file.
use rule synth as synth_stream with:
    output:
        feature_matrix="<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
        train="<results>/activations/{source}/seed{seed}/train.json",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/synth_stream/{source}.seed{seed}.log",
    benchmark:
        "<logs>/synth_stream/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=pattern(SYNTH_STREAMED),
