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
        model=language_model,
        text=language_text,
        number=NUMBERS["language"],
    shell:
        'python "$SCRIPTS"/language_losses.py --dictionaries {input.dictionaries}'
        " --device $DEVICE --threads {threads} --store {input.store} --model {params.model:q} --text {params.text:q}"
        " --output {output} > {log} 2>&1"
