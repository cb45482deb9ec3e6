"""Train a small CLIP on an image folder, with open_clip's own model, tokenizer and loss.

The small CLIP replaces the paper's ViT-B/32 if no weights can be downloaded: the same call loads its file. Captions are
made from class names, so the model learns no other words.
"""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from offline.settings import ClipTraining
from sdlcore import SourceError
from sdlcore.device import choose_device
from sdlcore.extraction.images import ImageFolder, decoded_images, list_images
from sdlcore.extraction.models import register_architecture
from sdlcore.identity import provenance
from sdlcore.random_streams import stream
from sdlcore.storage.files import atomic_path, write_json

log = logging.getLogger(__name__)

CAPTION = "a photo of a {}"
WARMUP_STEPS = 30
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.98)
GRADIENT_NORM = 1.0
LARGEST_LOGIT_SCALE = math.log(100)
LOG_EVERY = 20
EVALUATION_BATCH = 512


class Loaded(NamedTuple):
    """The readable images of a folder in memory."""

    images: torch.Tensor
    """N x 3 x height x width, float32, preprocessed."""
    labels: torch.Tensor
    """N indices of classes."""


def train_clip(
    training: ClipTraining,
    model: str,
    images: str | Path,
    test_images: str | Path,
    model_path: str | Path,
    metrics_path: str | Path,
    *,
    workers: int = 0,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train a CLIP on an image folder, and evaluate it zero-shot on another.

    On a CPU, the same settings and number of threads give the same bits. All images are loaded into memory.

    Parameters
    ----------
    training
        Settings.
    model
        Architecture: a name in open_clip, or a JSON file that describes one.
    images, test_images
        Folders in ImageFolder layout with the same classes.
    model_path
        Safetensors file to write, which ``open_clip.create_model_and_transforms(model, pretrained=model_path)`` loads.
    metrics_path
        JSON file to write.
    workers, device, threads
        Processes that decode images; cpu, cuda or auto; torch threads.

    Raises
    ------
    SourceError
        If a folder or the architecture cannot be used, or the images do not fill a batch.
    """
    torch.set_num_threads(threads)
    device = choose_device(device).type
    folder, test_folder = list_images(images), list_images(test_images, "test_images")
    if folder.classes != test_folder.classes:
        different = sorted(set(folder.classes) ^ set(test_folder.classes))
        raise SourceError(
            f"{test_images}: its class folders differ from {images}; {different[0]} is in only one of the two"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(training.seed, "clip", "initialisation").integers(2**63)))
        name = register_architecture(model)
        clip, _, preprocess = open_clip.create_model_and_transforms(name)
    clip.to(device)
    data = _load(folder, preprocess, workers)
    if len(data.images) < training.batch_size:
        raise SourceError(
            f"{images}: has {len(data.images)} readable images, fewer than training.batch_size {training.batch_size}"
        )
    tokens = open_clip.get_tokenizer(name)([CAPTION.format(name) for name in folder.class_names]).to(device)
    losses = _train(clip, data, tokens, training, device)
    test = _load(test_folder, preprocess, workers)
    facts = provenance(
        training=training.to_dict(),
        architecture=open_clip.get_model_config(name),
        caption=CAPTION,
        image_folder={"path": str(images), "sha256": folder.digest},
        precision="float32",
        device=device,
        threads=threads,
    )
    metrics = {
        "steps": training.steps,
        "loss": float(np.mean(losses[-LOG_EVERY:])),
        "chance_loss": math.log(training.batch_size),
        "images": {"train": len(data.images), "test": len(test.images)},
        "zero_shot": {"classes": len(tokens), "top1": _zero_shot(clip, test, tokens, device)},
        "provenance": facts,
    }
    weights = {key: value.cpu().contiguous() for key, value in clip.state_dict().items()}
    with atomic_path(model_path) as part:
        save_file(weights, part, metadata={"provenance": json.dumps(facts, sort_keys=True)})
    write_json(metrics_path, metrics)


def _load(folder: ImageFolder, preprocess: Any, workers: int) -> Loaded:
    images, indices = [], []
    for batch in decoded_images(folder, np.arange(len(folder.paths)), preprocess, EVALUATION_BATCH, workers=workers):
        if batch.images is not None:
            images.append(batch.images)
        indices += batch.indices
        for entry in batch.skipped:
            log.warning("%s: skipped %s: %s", folder.root, *entry)
    if not images:
        raise SourceError(f"{folder.root}: none of its {len(folder.paths)} images could be read")
    return Loaded(torch.cat(images), torch.from_numpy(folder.labels[indices]).long())


def _train(clip: Any, data: Loaded, tokens: torch.Tensor, training: ClipTraining, device: str) -> list[float]:
    """Train in place; return the loss of every step."""
    clip.train()
    loss_of = open_clip.ClipLoss()
    # no weight decay for gains, biases and the logit scale
    decayed = [p for p in clip.parameters() if p.ndim >= 2]
    others = [p for p in clip.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=training.lr,
        betas=BETAS,
    )
    warmup = min(WARMUP_STEPS, max(1, training.steps // 4))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, warmup, training.steps))
    losses = []
    for step, (chosen, flips) in zip(range(1, training.steps + 1), _batches(len(data.images), training), strict=False):
        images = data.images[chosen]
        images = torch.where(flips[:, None, None, None], images.flip(-1), images).to(device)
        loss = loss_of(*clip(images, tokens[data.labels[chosen].to(device)]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
        losses.append(loss.item())
        if step % LOG_EVERY == 0:
            log.info("step %d of %d: loss %.3f", step, training.steps, np.mean(losses[-LOG_EVERY:]))
    clip.eval()
    return losses


def _batches(images: int, training: ClipTraining) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield image indices and which images are mirrored, endlessly, with a new order in every epoch."""
    epoch = 0
    while True:
        order = stream(training.seed, "clip", "order", epoch).permutation(images)
        flips = stream(training.seed, "clip", "flips", epoch).random(images) < 0.5
        for first in range(0, images - training.batch_size + 1, training.batch_size):
            rows = slice(first, first + training.batch_size)
            yield torch.from_numpy(order[rows]), torch.from_numpy(flips[rows])
        epoch += 1


def _rate(step: int, warmup: int, steps: int) -> float:
    """Return the learning rate at a step, counted from 0, as a share of the peak."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.inference_mode()
def _zero_shot(clip: Any, test: Loaded, tokens: torch.Tensor, device: str) -> float:
    """Return the zero-shot accuracy: the share of images whose nearest caption names their class."""
    images_ND = torch.cat(
        [clip.encode_image(part.to(device), normalize=True) for part in test.images.split(EVALUATION_BATCH)]
    )
    texts_CD = torch.cat([clip.encode_text(part, normalize=True) for part in tokens.split(EVALUATION_BATCH)])
    nearest_N = (images_ND @ texts_CD.T).argmax(dim=1).cpu()
    return (nearest_N == test.labels).float().mean().item()
