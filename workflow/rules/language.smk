# What a language model loses when one run's reconstruction is spliced into it, and where its latents are most active. Not
# part of the default; ask for the file of a run.
rule language:
    """What a language model loses when a run's reconstruction is spliced into it"""
    input:
        dictionary="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/model.safetensors",
        store=store("test"),
        model=language_model_files,
        text=language_text_files,
    output:
        losses="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/language.json",
        contexts="<results>/runs/{source}/{method}/{protocol}/{anchoring}/seed{seed}/contexts.md",
    log:
        "<logs>/language/{source}.{method}.{protocol}.{anchoring}.seed{seed}.log",
    benchmark:
        "<logs>/language/{source}.{method}.{protocol}.{anchoring}.seed{seed}.tsv"
    wildcard_constraints:
        source=names_of("language"),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=120,
        gpu=train_gpus,
    params:
        environment=language_environment,
        model=language_model,
        text=language_text,
        code=lambda wildcards: code_digest("language"),
    shell:
        '{params.environment} python "$SCRIPTS"/language.py --cell {wildcards.source} {wildcards.method}'
        " {wildcards.protocol} {wildcards.anchoring} {wildcards.seed} --device $DEVICE --threads {threads}"
        " --dictionary {input.dictionary} --store {input.store} --model {params.model:q} --text {params.text:q}"
        " --output {output.losses} --page {output.contexts} > {log} 2>&1"
