# Image embeddings by CLIP models, shared by all seeds: from the user's image folders and weights, or from Fashion-MNIST
# and a small CLIP that is trained here.


# A local rule, because nodes of a cluster often cannot reach a mirror. The output is a link, because other checkouts may
# share the folder.
rule fashion_mnist:
    """Write Fashion-MNIST as image folders"""
    output:
        directory("<results>/images/fashion_mnist_{train_images}_{test_images}"),
    log:
        "<logs>/fashion_mnist/{train_images}_{test_images}.log",
    benchmark:
        "<logs>/fashion_mnist/{train_images}_{test_images}.tsv"
    wildcard_constraints:
        train_images=r"\d+",
        test_images=r"\d+",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        number=NUMBERS["fashion_mnist"],
    shell:
        'python "$SCRIPTS"/fashion_mnist.py --train-images {wildcards.train_images}'
        ' --test-images {wildcards.test_images} --by-hand "$CACHE"/fashion-mnist'
        ' --cache "$CACHE"/images'
        " --output {output:q} > {log:q} 2>&1"


rule train_clip:
    """Train a small CLIP on images"""
    input:
        images=clip_prepared_images,
        architecture=clip_architecture,
    output:
        weights="<results>/clip/{source}/model.safetensors",
        metrics="<results>/clip/{source}/metrics.json",
    log:
        "<logs>/train_clip/{source}.log",
    benchmark:
        "<logs>/train_clip/{source}.tsv"
    wildcard_constraints:
        source=names_of("clip"),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=train_gpus,
        # a resource instead of a param, so that another number of workers does not train again
        workers=lambda wildcards: clip_source(wildcards).workers,
    params:
        training=lambda wildcards: as_json(clip_source(wildcards).training.model_dump()),
        model=clip_model,
        images=clip_images,
        test_images=clip_test_images,
        number=NUMBERS["clip"],
    shell:
        'python "$SCRIPTS"/train_clip.py --training {params.training:q} --model {params.model:q}'
        " --images {params.images:q} --test-images {params.test_images:q}"
        " --workers {resources.workers} --threads {threads} --device $DEVICE"
        " --weights {output.weights:q} --metrics {output.metrics:q} > {log:q} 2>&1"


rule clip_activations:
    """Embed images with a CLIP"""
    input:
        images=clip_prepared_images,
        architecture=clip_architecture,
        weights=clip_weights_file,
    output:
        "<results>/activations/{source}/train.h5",
        "<results>/activations/{source}/test.h5",
        skipped="<results>/activations/{source}/skipped.csv",
    log:
        "<logs>/clip_activations/{source}.log",
    benchmark:
        "<logs>/clip_activations/{source}.tsv"
    wildcard_constraints:
        source=pattern(name for name in study.sources.clip if name not in SHARDED),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=train_gpus,
        workers=lambda wildcards: clip_source(wildcards).workers,
    params:
        source=lambda wildcards: as_json(settings_for(ClipSource, wildcards)),
        model=clip_model,
        pretrained=clip_weights,
        # the user's folders are not inputs, so that a plan can be made before they exist; the script reports a missing
        # folder and its expected content
        images=clip_images,
        test_images=clip_test_images,
        stores=lambda wildcards, output: output[:-1],
        part=part_of_store,
        number=NUMBERS["activations"],
    shell:
        'python "$SCRIPTS"/clip_activations.py --source {params.source:q} --model {params.model:q}'
        " --pretrained {params.pretrained:q} --images {params.images:q} --test-images {params.test_images:q}"
        " --part {params.part} --workers {resources.workers} --threads {threads} --device $DEVICE"
        " --stores {params.stores:q} --skipped {output.skipped:q} > {log:q} 2>&1"


# The same in parts, each in a job of its own, for sources with shards.
use rule clip_activations as clip_shard with:
    output:
        "<results>/activations/{source}/{split}/part-{number}.h5",
        skipped="<results>/activations/{source}/{split}/part-{number}.skipped.csv",
    log:
        "<logs>/clip_shard/{source}.{split}.{number}.log",
    benchmark:
        "<logs>/clip_shard/{source}.{split}.{number}.tsv"
    wildcard_constraints:
        source=pattern(name for name in SHARDED if name in study.sources.clip),
        split="train|test",
        number=r"\d{5}",
