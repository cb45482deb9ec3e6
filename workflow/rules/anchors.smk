# Anchor directions (section 4.1).
rule anchors:
    input:
        rules.feature_matrix.output,
    output:
        "<results>/anchors/{source}/{anchoring}/seed{seed}.safetensors",
    log:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/anchors/{source}.{anchoring}.seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        n_anchors=lambda wildcards: config["anchorings"][wildcards.anchoring]["n_anchors"],
        code=code_digest("anchors"),
    shell:
        'python "$SCRIPTS"/anchors.py --n-anchors {params.n_anchors} --seed {wildcards.seed}'
        " --feature-matrix {input} --output {output} > {log} 2>&1"
