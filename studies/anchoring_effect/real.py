"""Train on real activations with half of the classes' means as anchors, and judge the other classes.

    snakemake results/quick/activations/fashion_clip/{train,test}.h5 --cores all --configfile config/config.yaml
    snakemake results/anchoring_words/activations/smollm2/{train,test}.h5 --cores all \
        --configfile studies/anchoring_effect/words.yaml
    python -m studies.anchoring_effect.real --clip results/quick/activations/fashion_clip \
        --words results/anchoring_words/activations/smollm2 resources/kept/anchoring_effect_real.csv

The command resumes, as `studies.anchoring_effect.runs` does. Sources are

- `clip`: embeddings of the default's CLIP, with its 90 fine classes of Fashion-MNIST;
- `words`: tokens of SmolLM2 in layer 12, whose class is the token itself, for the 200 most frequent tokens of the
  training store.

Classes have their mean, less the mean of all activations, as a direction. A seed draws half of the classes, whose means
are true anchors. Random anchors are as many Gaussian directions, coloured by the covariance of the activations, so that
they lie where activations do. The other half is judged: by the cosine of its means with decoder columns, and by the
best F1 with which the activity of a latent tells the class on held-out samples. `mip_free` and `f1_free` leave out the
anchored latents: a mean of one class is close to means of others, so an anchor alone matches other classes.

Predictions, written before the first run: on neither source do true anchors raise the F1 of the other classes over
random anchors by more than .02, and they raise the cosine of their means (by the anchored latents themselves).
"""

import argparse
import hashlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

import sdlcore as sdl
from studies.anchoring_effect.runs import made_with, share, unit
from studies.tables import add, finished
from studies.tables import read as read_table

SEEDS = (70, 71, 72, 73, 74)
WORDS = 200
TAUS = {"70": 0.7, "80": 0.8, "90": 0.9}
SETTINGS: dict[str, dict[str, Any]] = {
    "clip": {"k": 8, "n_q": 512, "steps": 1000, "batch_size": 256},
    "words": {"k": 32, "n_q": 2048, "steps": 800, "batch_size": 512},
}
"""Those of config/config.yaml (topk_real) and config/studies/judged.yaml."""
COMMON: dict[str, Any] = {
    **{"activation": "topk", "bias": True, "initialisation": "linear", "decoder_norm": "free"},
    **{"loss_scale": "sum", "lr": 3e-3, "lr_warmup": 0.05, "lr_decay": 0.2, "lr_decay_shape": "linear"},
    **{"weight_decay": 0.0, "normalise": True, "whiten": False, "precision": "float32"},
}


@dataclass(frozen=True)
class Run:
    """What identifies a run."""

    source: str
    clip: bool
    anchors: str = "none"
    weight: float = 0.0
    seed: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, field.name)) for field in fields(self))


COLUMNS = [field.name for field in fields(Run)]


def planned_runs(sources: list[str]) -> Iterator[Run]:
    for seed in SEEDS:
        for source in sources:
            for clip in (False, True):
                without = Run(source, clip, seed=seed)
                yield without
                for weight in (0.1, 1.0, 10.0, 100.0):
                    for kind in ("true", "random"):
                        yield replace(without, anchors=kind, weight=weight)


@dataclass(frozen=True)
class Data:
    """Activations and classes of a source."""

    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    """Class of each held-out sample, -1 for none."""
    means: np.ndarray
    """Unit rows: class means, less the mean of all activations."""
    store: str
    """What identifies the stores: the training store's checksum, or that of the tokens. Another processor computes
    nearly the same activations of the same tokens, but trains another CLIP."""


def read(source: str, folder: Path) -> Data:
    """Read the stores of a source."""
    parts, checksums = [], []
    for name in ("train", "test"):
        with sdl.ActivationStore(folder / f"{name}.h5") as opened:
            kept = "references/token" if source == "words" else "labels"
            parts.append((opened.read("input").astype(np.float32), opened.read(kept).astype(np.int64)))
            checksums.append(opened.checksum[:10])
    (train, classes), (test, labels) = parts
    if source == "words":
        names, counts = np.unique(classes, return_counts=True)
        names = names[np.argsort(-counts, kind="stable")[:WORDS]]
    else:
        names = np.unique(classes[classes >= 0])
    numbers = {int(name): number for number, name in enumerate(names)}
    labels = np.array([numbers.get(int(label), -1) for label in labels])
    mean = train.mean(0)
    means = np.stack([train[classes == name].mean(0) - mean for name in names])
    tokens = hashlib.sha256(np.concatenate([parts[0][1], parts[1][1]]).tobytes()).hexdigest()[:10]
    store = tokens if source == "words" else checksums[0]
    return Data(train, test, labels, unit(means).astype(np.float32), store)


def half(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that are anchored, and the others."""
    order = np.random.default_rng([seed, 1]).permutation(classes)
    return order[: classes // 2], order[classes // 2 :]


def random_directions(number: int, x: np.ndarray, seed: int) -> np.ndarray:
    """Return unit Gaussian directions with the covariance of the samples."""
    rng = np.random.default_rng([seed, 2])
    picked = x[rng.choice(len(x), min(len(x), 20_000), replace=False)]
    mixed = rng.standard_normal((number, len(picked))).astype(np.float32) @ (picked - picked.mean(0))
    return unit(mixed).astype(np.float32)


def f1_scores(codes: csr_array, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the F1 with which the activity of each latent tells each class, latents x classes."""
    active = csr_array(codes > 0, dtype=np.float32)
    known = np.flatnonzero(labels >= 0)
    of_class = csr_array((np.ones(len(known), np.float32), (known, labels[known])), shape=(len(labels), classes))
    both = np.asarray((active.T @ of_class).todense())
    fires, there = np.asarray(active.sum(0)).ravel(), np.asarray(of_class.sum(0)).ravel()
    return 2 * both / np.maximum(fires[:, None] + there[None], 1)


def measured(run: Run, known: Data) -> dict[str, Any]:
    """Train a run and return its row."""
    began, clock = time.process_time(), time.time()
    anchored, others = half(run.seed, len(known.means))
    tied: dict[str, Any] = {}
    if run.anchors != "none":
        true = known.means[anchored]
        anchors = true if run.anchors == "true" else random_directions(len(true), known.train, run.seed)
        tied = {"anchors": anchors, "lambda_anchor": run.weight, "anchor_form": "frobenius"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = sdl.fit(
            known.train,
            seed=run.seed,
            device="cpu",
            progress=False,
            gradient_clip=1.0 if run.clip else None,
            **COMMON,
            **SETTINGS[run.source],
            **tied,
        )
    columns = unit(found.W_dec.numpy())
    cosines = np.abs(known.means @ columns.T)
    scores = f1_scores(found.encode(known.test, sparse=True), known.labels, len(known.means))
    cosine, f1 = cosines.max(1), scores.max(0)
    free = len(anchored) if tied else 0
    row: dict[str, Any] = dict(zip(COLUMNS, run.key, strict=True)) | {
        f"recovery_{name}": share(cosine[others] > tau) for name, tau in TAUS.items()
    }
    row |= {"mip": float(cosine[others].mean()), "f1": float(f1[others].mean())}
    row["mip_free"] = float(cosines[others, free:].max(1).mean())
    row["f1_free"] = float(scores[free:, others].max(0).mean())
    row |= {"mip_anchored": float(cosine[anchored].mean()), "f1_anchored": float(f1[anchored].mean())}
    if tied:
        held = (columns[: len(anchored)] * tied["anchors"]).sum(1)
        row["anchors_held"] = share(held > 0.9)
        row["mip_of_anchors"] = float(np.abs(known.means[others] @ tied["anchors"].T).max(1).mean())
    all_scores = sdl.evaluate(found, x=known.test, nulls=False)
    row |= {name: float(all_scores[name] or 0) for name in ("fvu", "l0", "dead_fraction")} | {"store": known.store}
    row["core_seconds"] = round(time.process_time() - began, 1)
    row["wall_seconds"] = round(time.time() - clock, 1)
    return row | made_with()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on real activations, with half of the classes anchored.")
    parser.add_argument("table", type=Path, help="CSV file of finished runs")
    parser.add_argument("--clip", type=Path, help="folder with train.h5 and test.h5 of the default's CLIP")
    parser.add_argument("--words", type=Path, help="folder with train.h5 and test.h5 of SmolLM2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folders = {name: folder for name in SETTINGS if (folder := getattr(options, name)) is not None}
    if not folders:
        parser.error("give --clip, --words or both")
    done = finished(options.table, COLUMNS)
    known = {name: read(name, folder) for name, folder in folders.items()}
    kept = read_table(options.table)[["source", "store"]] if done else None
    for source, store in [] if kept is None else kept.drop_duplicates().itertuples(index=False, name=None):
        if source in known and store != known[source].store:
            parser.error(
                f"{options.table} has runs on another store of {source} ({store}, here {known[source].store}); "
                "choose another table, since runs on different stores cannot be compared"
            )
    for run in planned_runs(list(folders)):
        if run.key in done:
            continue
        made = measured(run, known[run.source])
        add(options.table, [made], COLUMNS)
        print(*run.key, made["mip"], made["f1"], f"{made['core_seconds']} s", flush=True)


if __name__ == "__main__":
    main()
