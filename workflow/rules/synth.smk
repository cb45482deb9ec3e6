# Benches with the distribution of SynthSAEBench.
rule synth_stream:
    """Draw features and evaluation samples of a bench whose trainings draw their samples themselves"""
    output:
        feature_matrix="<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
        train="<results>/activations/{source}/seed{seed}/train.json",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/synth/{source}.seed{seed}.log",
    benchmark:
        "<logs>/synth/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=pattern(SYNTH_STREAMED),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards: 2000 + study.source(wildcards.source).n // 20,
        runtime=120,
    params:
        source=lambda wildcards: as_json(settings_for(SynthSource, wildcards)),
        number=NUMBERS["samples"],
    shell:
        'python "$SCRIPTS"/synth.py --source {params.source:q} --seed {wildcards.seed}'
        " --feature-matrix {output.feature_matrix} --train {output.train} --test {output.test} > {log} 2>&1"


rule synth:
    """Draw features and samples of a bench with the distribution of SynthSAEBench"""
    output:
        feature_matrix="<results>/bench/{source}/seed{seed}/feature_matrix.safetensors",
        train="<results>/activations/{source}/seed{seed}/train.h5",
        test="<results>/activations/{source}/seed{seed}/test.h5",
    log:
        "<logs>/synth/{source}.seed{seed}.log",
    benchmark:
        "<logs>/synth/{source}.seed{seed}.tsv"
    wildcard_constraints:
        source=pattern(name for name in study.sources.synth if name not in SYNTH_STREAMED),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # room for three matrices of 4096 samples times all features
        mem_mb=lambda wildcards: 2000 + study.source(wildcards.source).n // 20,
        runtime=120,
    params:
        source=lambda wildcards: as_json(settings_for(SynthSource, wildcards)),
        number=NUMBERS["samples"],
    shell:
        'python "$SCRIPTS"/synth.py --source {params.source:q} --seed {wildcards.seed}'
        " --feature-matrix {output.feature_matrix} --train {output.train} --test {output.test} > {log} 2>&1"
