# The loss of a language model with one run's reconstructions spliced in, and the contexts in which its latents are most
# active. No table or figure needs these files; name the file of a run as a target.
rule language:
    """Measure the loss of a language model with a run's reconstructions spliced in"""
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
        number=NUMBERS["language"],
    shell:
        '{params.environment} python "$SCRIPTS"/language.py --cell {wildcards.source} {wildcards.method}'
        " {wildcards.protocol} {wildcards.anchoring} {wildcards.seed} --device $DEVICE --threads {threads}"
        " --dictionary {input.dictionary} --store {input.store} --model {params.model:q} --text {params.text:q}"
        " --output {output.losses} --page {output.contexts} > {log} 2>&1"


# The table of language scores reads one file for each source, since all dictionaries of a source share the passes of the
# clean and the ablated model.
rule language_losses:
    """Measure the losses of a language model with each of a source's dictionaries spliced in"""
    input:
        dictionaries=scored_dictionaries,
        store=store("test"),
        model=language_model_files,
        text=language_text_files,
    output:
        "<results>/language_losses/{source}.json",
    log:
        "<logs>/language_losses/{source}.log",
    benchmark:
        "<logs>/language_losses/{source}.tsv"
    wildcard_constraints:
        source=pattern(SCORED),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=lambda wildcards, input: 120 * len(input.dictionaries),
        gpu=train_gpus,
    params:
        environment=language_environment,
        model=language_model,
        text=language_text,
        number=NUMBERS["language"],
    shell:
        '{params.environment} python "$SCRIPTS"/language_losses.py --dictionaries {input.dictionaries}'
        " --device $DEVICE --threads {threads} --store {input.store} --model {params.model:q} --text {params.text:q}"
        " --output {output} > {log} 2>&1"
