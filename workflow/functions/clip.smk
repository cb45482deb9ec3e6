# Files and settings of CLIP models and of their images.
from offline.settings import TRAINED_HERE


def clip_source(wildcards):
    return study.sources.clip[wildcards.source]


def clip_prepared_images(wildcards):
    """Return the image folder that the pipeline makes; empty if the source uses the user's own folders."""
    return FILES.prepared_images(wildcards.source) or []


def clip_images(wildcards):
    """Return the folder of training images."""
    return FILES.images(wildcards.source)[0]


def clip_test_images(wildcards):
    """Return the folder of evaluation images; empty if some of the training images are held out for evaluation."""
    return FILES.images(wildcards.source)[1] or []


def clip_model(wildcards):
    """Return the architecture: a name, or a JSON file in the working directory or else in the checkout."""
    model = clip_source(wildcards).model
    return in_checkout(model) if model.endswith(".json") and not Path(model).exists() else model


def clip_architecture(wildcards):
    model = clip_model(wildcards)
    return model if model.endswith(".json") else []


def clip_weights(wildcards):
    trained = f"{RESULTS}/clip/{wildcards.source}/model.safetensors"
    return trained if clip_source(wildcards).pretrained == TRAINED_HERE else clip_source(wildcards).pretrained


def clip_weights_file(wildcards):
    return clip_weights(wildcards) if clip_source(wildcards).pretrained == TRAINED_HERE else []
