# CLIP models and the images that they embed.
from sdlcore.sources.images.settings import FASHION_MNIST, TRAINED_HERE


def clip_source(wildcards):
    return study.clip(wildcards.source)


def is_fashion_mnist(wildcards):
    return clip_source(wildcards).images == FASHION_MNIST


def clip_prepared_images(wildcards):
    """The image folder that the pipeline itself makes; nothing where the user's own is taken."""
    return FILES.prepared_images(wildcards.source) or []


def clip_folders(wildcards):
    """The folders of training and evaluation images; the latter None where some of the former are held out."""
    return FILES.images(wildcards.source)


def clip_test_images(wildcards):
    return clip_folders(wildcards)[1] or []


def clip_model(wildcards):
    """The architecture: a name, or a JSON file of the working directory or else of the checkout."""
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


def clip_workers(wildcards):
    return clip_source(wildcards).workers


CLIP_MEMORY = 8000
