# CLIP models and the images that they embed.
from sdlcore.sources.images.settings import FASHION_MNIST, TRAINED, ClipSource


def clip_source(wildcards):
    return config["sources"]["clip"][wildcards.source]


def is_fashion_mnist(wildcards):
    return clip_source(wildcards)["images"] == FASHION_MNIST


def clip_prepared_images(wildcards):
    """The image folder that the pipeline itself makes; nothing where the user's own is taken."""
    if not is_fashion_mnist(wildcards):
        return []
    train_images, test_images = ClipSource.from_dict(extraction_settings(wildcards)).images_taken
    return f"{RESULTS}/images/fashion_mnist_{train_images}_{test_images}"


def clip_folders(wildcards):
    """The folders of training and evaluation images; the latter None where some of the former are held out."""
    if is_fashion_mnist(wildcards):
        return [f"{clip_prepared_images(wildcards)}/{part}" for part in ("train", "test")]
    return [clip_source(wildcards)[key] for key in ("images", "test_images")]


def clip_test_images(wildcards):
    return clip_folders(wildcards)[1] or []


def clip_model(wildcards):
    """The architecture: a name, or a JSON file of the working directory or else of the checkout."""
    model = clip_source(wildcards)["model"]
    return in_checkout(model) if model.endswith(".json") and not Path(model).exists() else model


def clip_architecture(wildcards):
    model = clip_model(wildcards)
    return model if model.endswith(".json") else []


def clip_weights(wildcards):
    trained = f"{RESULTS}/clip/{wildcards.source}/model.safetensors"
    return trained if clip_source(wildcards)["pretrained"] == TRAINED else clip_source(wildcards)["pretrained"]


def clip_weights_file(wildcards):
    return clip_weights(wildcards) if clip_source(wildcards)["pretrained"] == TRAINED else []


def clip_workers(wildcards):
    return clip_source(wildcards)["workers"]


def clip_files(source):
    """Return the files that a CLIP source leaves beside its stores."""
    files = [f"{RESULTS}/activations/{source}/skipped.csv"]
    if config["sources"]["clip"][source]["pretrained"] == TRAINED:
        files += [f"{RESULTS}/clip/{source}/{name}" for name in ("model.safetensors", "metrics.json")]
    return files


CLIP_MEMORY = 8000
