"""Commands that take settings, or need more code than `sdlcore.commands.signatures` derives from a function."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

import sdlcore as sdl
from sdlcore.commands.signatures import (
    OUT,
    DictionaryPaths,
    InputPath,
    TargetPath,
    arg,
    open_dictionaries,
)
from sdlcore.config import Config, is_centred
from sdlcore.data.anchors import load_anchors
from sdlcore.data.conversion import activations, array, is_store
from sdlcore.data.references import as_anchors, load_references, save_references
from sdlcore.device import Device
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.fitting.start import opened_start, with_architecture
from sdlcore.settings import LatentCount, checked
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import user_path, write_json
from sdlcore.suggestions import did_you_mean
from sdlcore.text import number as number_text
from sdlcore.text import table
from sdlcore.user_warnings import is_first_process

REFERENCES = "references.safetensors"
"""Means of classes in a run's folder."""
CLASS_MEANS, DISCOVER = "class-means", "discover"
LABELS = "class numbers or names, a sample each, as an .npy file. Their means are centred with --normalise or --whiten"
ANCHORS = (
    "class-means (needs labels), discover (needs none), or a file: anchors (.safetensors), unit rows (.npy). Their "
    "weight, --lambda-anchor, is 0.1 if left out"
)
N_ANCHORS = (
    "how many class means or discovered directions, or, below 1, which share of the class means; all if left out"
)


def fit(
    x: InputPath,
    out: OUT,
    target: TargetPath = None,
    labels: Annotated[Path | None, arg(help=LABELS)] = None,
    anchors: Annotated[str | None, arg(help=ANCHORS)] = None,
    n_anchors: Annotated[int | float | None, arg(help=N_ANCHORS)] = None,
    start: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    *,
    settings: Annotated[dict[str, Any], Config, "activation", "loss term"],
) -> None:
    """Train a dictionary on activations.

    Writes model.safetensors, config.json and history.csv; of anchors and labels, anchors.safetensors and
    references.safetensors, which `sdlcore evaluate` reads. The same command resumes a training that was cut off, and
    opens a finished one. A run with other settings, another seed or other data is never overwritten.
    """
    if n_anchors is not None and anchors not in (CLASS_MEANS, DISCOVER):
        raise ValueError(f"--n-anchors needs --anchors {CLASS_MEANS} or {DISCOVER}; all anchors of a file are taken")
    opened = opened_start(start)
    inputs = _inputs(x, target, settings.get("pair", None if opened is None else opened.pair))
    means, directions = None, None
    if labels is not None or anchors == CLASS_MEANS:
        if labels is None and not is_store(x):
            raise ValueError("--anchors class-means needs --labels: an .npy file with a class a sample")
        completed = settings if opened is None else with_architecture(opened, settings)
        centred = is_centred({"normalise": Config.model_fields["normalise"].default, **completed})
        classes = None if labels is None else array(labels, "labels")
        means = sdl.class_means(inputs["x"], classes, inputs.get("target"), centred=centred)
    if anchors == DISCOVER:
        number = checked("n_anchors", LatentCount | None, n_anchors)
        directions = sdl.discover(inputs["x"], number, inputs.get("target"), seed=seed)
    elif anchors == CLASS_MEANS and means is not None:
        directions = means.choose(means.W_p.shape[1] if n_anchors is None else n_anchors, seed)
    elif anchors is not None:
        path = user_path(anchors, "--anchors")
        if not path.is_file():
            hint = did_you_mean(anchors, (CLASS_MEANS, DISCOVER))
            raise ValueError(f"--anchors must be {CLASS_MEANS}, {DISCOVER} or a file, found {anchors}{hint}")
        directions = load_anchors(path) if path.suffix == ".safetensors" else as_anchors(array(path, "anchors"))
    options: dict[str, Any] = {"anchors": directions, "start": opened, "seed": seed, "device": device}
    dictionary = sdl.fit(**inputs, out=out, **options, **settings)
    if is_first_process():
        if means is not None:
            save_references(out / REFERENCES, means, {})
        print(f"{dictionary}: {out}")


def solve(
    x: InputPath,
    out: OUT,
    target: TargetPath = None,
    start: Path | None = None,
    seed: int = 0,
    *,
    settings: Annotated[dict[str, Any], SolverConfig, "solver"],
) -> None:
    """Find a dictionary of activations without gradient descent, on the CPU. It encodes raw activations."""
    inputs = _inputs(x, target, settings.get("pair"))
    print(f"{sdl.solve(**inputs, out=out, start=start, seed=seed, **settings)}: {out}")


def _inputs(x: Path, target: Path | None, pair: str | None) -> dict[str, Any]:
    """Return x and target as `sdlcore.fit` takes them: a crosscoder reads both as its sites."""
    return {"x": [x, target]} if pair == "crosscoder" and target is not None else {"x": x, "target": target}


def evaluate(
    dictionaries: DictionaryPaths,
    bench: str | None = None,
    x: Path | None = None,
    target: Path | None = None,
    labels: Path | None = None,
    references: Path | None = None,
    nulls: bool = True,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Score dictionaries: against true features, means of classes, or by their reconstructions alone.

    Several are shown in one table, a row each, without null baselines.

    Args:
        bench: lrb-s, lrb-m or lrb-l
        x: samples to evaluate on where there is no bench: an .npy file, or a store (.h5) with its target and labels
        target: the second representation of the same samples, as an .npy file
        labels: class numbers or names of these samples, as an .npy file. The means of these classes judge the
            dictionary, unless the run's folder contains means
        references: directions to judge by, instead of these: means of classes (.safetensors), or unit rows (.npy)
        nulls: also score untrained dictionaries of the same size
        seed: of everything random
        out: JSON file to write all metrics to, with a key for each path if there are several dictionaries
    """
    if (bench is None) == (x is None) or (bench is not None and (target or labels or references)):
        raise ValueError("evaluate on --bench, or on --x with its --target, --labels or --references")
    opened, alone = open_dictionaries(dictionaries), len(dictionaries) == 1  # before the first is evaluated
    options: dict[str, Any] = {"seed": seed, "nulls": nulls and alone}
    drawn_bench = None if bench is None else sdl.standard_bench(bench)
    classes = None if labels is None else array(labels, "labels")
    scores = dict[str, sdl.Scores]()
    for path, dictionary in opened.items():
        if drawn_bench is not None:
            scores[path] = sdl.evaluate(dictionary, drawn_bench, **options)
            continue
        first, second = ([x, target], None) if target and dictionary.pair == "crosscoder" else (x, target)
        truth = _references(dictionary, Path(path) / REFERENCES, references, first, second, classes)
        scores[path] = sdl.evaluate(dictionary, truth, first, second, labels=classes, **options)
    print("\n".join(f"{opened[path]}\n{scores[path]}" for path in scores) if alone else _side_by_side(scores))
    if out is not None:
        parts = {path: {"metrics": s.metrics, "chance": s.chance, "nulls": s.nulls} for path, s in scores.items()}
        write_json(out, parts[str(dictionaries[0])] if alone else parts)


def _references(
    dictionary: Dictionary, class_means_path: Path, references: Path | None, x: Any, target: Path | None, labels: Any
) -> Any:
    """Return the references: given ones, a dictionary's own class means, class means of the samples, or None."""
    if references is not None:
        return references if references.suffix == ".npy" else load_references(references)
    with activations(x, target, labels) as samples:
        if not samples.has("labels") or samples.class_names() is None:
            return None
    if class_means_path.is_file():
        return load_references(class_means_path)
    return sdl.class_means(x, labels, target, centred=is_centred(dictionary.provenance.get("settings", {})))


def _side_by_side(scores: Mapping[str, sdl.Scores]) -> str:
    """Return the metrics that matter most as a table, a row a dictionary."""
    listed = sorted((result.main_metrics() for result in scores.values()), key=len, reverse=True)
    metrics = list(dict.fromkeys(name for names in listed for name in names))
    rows = [[path, *(number_text(score.metrics.get(name)) for name in metrics)] for path, score in scores.items()]
    return table([["", *metrics], *rows])


def bench(bench: Annotated[Literal["lrb", "synthsaebench"], tyro.conf.Positional], out: Path, seed: int = 0) -> None:
    """Write the training samples of a bench that judge scores on, for any trainer.

    Args:
        out: an array (.npy)
    """
    path = user_path(out, "out")
    if path.suffix != ".npy":  # numpy would add it
        raise ValueError(f"--out is {path}, expected the name of an array, such as {path.with_suffix('.npy')}")
    world = sdl.judged_bench(bench, seed)
    np.save(path, world.sample())
    print(f"{world}: {path}")
