"""Draw a bench, and fit dictionaries."""

from pathlib import Path
from typing import Annotated, Any

from sdlcore.api.anchors import class_means, discover
from sdlcore.api.fitting import fit as fit_dictionary
from sdlcore.api.fitting import with_architecture
from sdlcore.api.inputs import array, is_store
from sdlcore.api.run_folder import run_folder
from sdlcore.api.solving import solve as solve_dictionary
from sdlcore.api.sweep import fit_many as fit_side_by_side
from sdlcore.benches.config import BenchSource
from sdlcore.benches.known_features import Part
from sdlcore.benches.lrb import Bench
from sdlcore.commands.arguments import (
    FEATURES,
    REFERENCES,
    InputPath,
    opened,
    read_anchors,
    read_bench,
    sites,
)
from sdlcore.config import Config, is_centred
from sdlcore.data.anchors import Anchors
from sdlcore.data.references import References, save_references
from sdlcore.data.writing import create_store
from sdlcore.device import Device
from sdlcore.identity import provenance
from sdlcore.settings import Split, default_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.paths import user_path
from sdlcore.storage.yaml_files import load_yaml, number_as_text
from sdlcore.suggestions import did_you_mean
from sdlcore.user_warnings import is_first_process

CLASS_MEANS, DISCOVER = "class-means", "discover"


def bench(out: Path, seed: int = 0, *, settings: Annotated[dict[str, Any], BenchSource]) -> None:
    """Draw a bench: its true features, and samples for training and evaluation.

    Writes features.safetensors, train.h5 and test.h5. Another bench is never overwritten.

    Args:
        out: folder to write
        seed: everything is drawn from it
    """
    new_bench = Bench.draw(seed=seed, **settings)
    source = new_bench.settings
    facts = provenance(bench=source.to_dict(), seed=seed)
    if (out / FEATURES).exists():
        stored_bench = read_bench(str(out))
        if (stored_bench.settings, stored_bench.seed) != (source, seed):
            raise ValueError(f"{out}: holds a different bench, {stored_bench}. Choose another folder.")
    (out / FEATURES).unlink(missing_ok=True)  # written last, so that a folder with it has all samples
    sizes: dict[Part, int] = {"train": source.train_samples, "test": source.test_samples}
    for part, rows in sizes.items():
        with create_store(out / f"{part}.h5", facts | {"part": part}) as store:
            bench_samples = new_bench.samples(rows, part)
            store.append(bench_samples.input, target=bench_samples.target, features=bench_samples.features)
    save_references(out / FEATURES, new_bench.references, facts)
    print(f"{new_bench}: {out / 'train.h5'}, {out / 'test.h5'}, {out / FEATURES}")


TrainingOptions = Annotated[dict[str, Any], Config, "activation", "loss term"]
"""Settings of a training that are given, by name."""


def fit(
    x: InputPath,
    out: Path,
    target: Path | None = None,
    labels: Path | None = None,
    anchors: str | None = None,
    n_anchors: float | None = None,
    start: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    split: Split = "samples",
    *,
    settings: TrainingOptions,
) -> None:
    """Train a dictionary on activations.

    Writes model.safetensors, config.json and history.csv; of anchors and labels, anchors.safetensors and
    references.safetensors, which `sdlcore evaluate` reads. The same command resumes a training that was cut off, and
    opens a finished one. A run with other settings, another seed or other data is never overwritten.

    Args:
        x: activations: an .npy file, samples x dimensions, or a store (.h5)
        out: folder to write
        target: activations that a transcoder writes, or a crosscoder's second site, as an .npy file
        labels: class numbers or names, a sample each, as an .npy file. Their means are centred with --normalise or
            --whiten
        anchors: class-means (needs labels), discover (needs none), or a file: anchors (.safetensors), unit rows (.npy).
            Their weight, --lambda-anchor, is 0.1 if left out
        n_anchors: how many class means or discovered directions, or, below 1, which share of the class means; all if
            left out
        start: a dictionary to continue from: its weights, and its architecture, unless options name another
        seed: everything is drawn from it
        device: where to train
        split: whether the processes of torchrun divide the samples of each batch or the latents
    """
    run_folder(out)
    opened_start = None if start is None else opened(start)
    pair = settings.get("pair", "sae" if opened_start is None else opened_start.pair)
    first, second, pair = sites(x, target, pair)
    settings = {**settings, "pair": pair}
    _check_anchors(anchors, n_anchors, labels is not None or is_store(x))
    completed = settings if opened_start is None else with_architecture(opened_start, settings)
    means = _means_of(labels, anchors, first, second, is_centred(_defaults() | completed))
    directions = _anchors_of(anchors, n_anchors, means, first, second, seed)
    dictionary = fit_dictionary(
        first,
        second,
        seed=seed,
        anchors=directions,
        start=opened_start,
        device=device,
        split=split,
        out=out,
        **settings,
    )
    if not is_first_process():
        return
    if means is not None:
        save_references(out / REFERENCES, means, {})
    print(f"{dictionary}: {out}")


def _defaults() -> dict[str, Any]:
    return {name: default_of(Config, name) for name in ("normalise", "whiten")}


def _check_anchors(anchors: str | None, n_anchors: float | None, labelled: bool) -> None:
    """Refuse options that go with no anchors, or with others, before anything is read."""
    if anchors == CLASS_MEANS and not labelled:
        raise ValueError("--anchors class-means needs --labels: an .npy file with a class a sample")
    if n_anchors is not None and anchors not in (CLASS_MEANS, DISCOVER):
        raise ValueError(f"--n-anchors needs --anchors {CLASS_MEANS} or {DISCOVER}; all anchors of a file are taken")
    if anchors == DISCOVER and n_anchors is not None and not n_anchors.is_integer():
        raise ValueError(f"--n-anchors must be a whole number with --anchors {DISCOVER}, found {n_anchors}")
    if anchors is not None and anchors not in (CLASS_MEANS, DISCOVER) and not user_path(anchors, "--anchors").is_file():
        hint = did_you_mean(anchors, (CLASS_MEANS, DISCOVER))
        raise ValueError(f"--anchors must be {CLASS_MEANS}, {DISCOVER} or a file, found {anchors}{hint}")


def _means_of(
    labels: Path | None, anchors: str | None, x: Any, target: Path | None, centred: bool
) -> References | None:
    """Return the means of classes, where labels are given or anchors are drawn from them."""
    if labels is None and anchors != CLASS_MEANS:
        return None
    return class_means(x, None if labels is None else array(labels, "labels"), target, centred=centred)


def _anchors_of(
    anchors: str | None, n_anchors: float | None, means: References | None, x: Any, target: Path | None, seed: int
) -> Anchors | None:
    """Return the requested anchors: means of classes, discovered directions, or the contents of a file."""
    if anchors is None:
        return None
    if anchors == DISCOVER:
        return discover(x, None if n_anchors is None else int(n_anchors), target, seed=seed)
    if anchors == CLASS_MEANS:
        assert means is not None, "class means are taken before"
        return means.choose(means.W_p.shape[1] if n_anchors is None else n_anchors, seed)
    return read_anchors(user_path(anchors, "--anchors"))


def fit_many(
    x: InputPath,
    runs: Path,
    out: Path,
    target: Path | None = None,
    labels: Path | None = None,
    anchors: str | None = None,
    n_anchors: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    *,
    settings: TrainingOptions,
) -> None:
    """Train several dictionaries on the same activations side by side: a sweep, or seeds.

    Writes a folder as `sdlcore fit` does for each run, by its name. The same command resumes runs that were cut off,
    and opens finished ones. A run with other settings, another seed or other data is never overwritten.

    Args:
        x: activations: an .npy file, samples x dimensions, or a store (.h5)
        runs: a YAML file with each run's name and own settings, such as "wide: {n_q: 4096, seed: 1}". A run
            with "anchors: null" is not anchored; one with "start: PATH" continues from that dictionary
        out: folder to write
        target: activations that a transcoder writes, or a crosscoder's second site, as an .npy file
        labels: class numbers or names, a sample each, as for `sdlcore fit`
        anchors: of all runs: class-means, discover, or a file, as for `sdlcore fit`
        n_anchors: how many, or which share, as for `sdlcore fit`
        at_once: how many are trained at a time; one a core, and on a GPU one, if left out
        seed: everything is drawn from it, in runs without one of their own
        device: where to train
    """
    first, second, pair = sites(x, target, settings.get("pair", "sae"))
    settings_of_runs = load_yaml(runs)
    if not isinstance(settings_of_runs, dict) or not all(isinstance(one, dict) for one in settings_of_runs.values()):
        raise ValueError(f"{runs}: expected names of runs, each with its settings, such as wide: {{n_q: 4096}}")
    for name, one in settings_of_runs.items():
        for key, value in one.items():
            if isinstance(value, str) and (remedy := number_as_text(value)):
                raise ValueError(f"{runs}: {name}.{key}: found {value!r}{remedy}")
    _check_anchors(anchors, n_anchors, labels is not None or is_store(x))
    centred = {is_centred(_defaults() | settings | one) for one in settings_of_runs.values()}
    if len(centred) > 1 and (labels is not None or anchors is not None):
        raise ValueError(
            f"{runs}: runs differ in normalise or whiten, so that means of classes do not serve all of them"
        )
    means = _means_of(labels, anchors, first, second, any(centred))
    directions = _anchors_of(anchors, n_anchors, means, first, second, seed)
    options: dict[str, Any] = {"anchors": directions, "seed": seed, "device": device, "at_once": at_once}
    dictionaries = fit_side_by_side(first, settings_of_runs, second, out=out, **options, **settings | {"pair": pair})
    for name, dictionary in dictionaries.items():
        if means is not None:
            save_references(out / str(name) / REFERENCES, means, {})
        print(f"{dictionary}: {out / str(name)}")


def solve(
    x: InputPath,
    out: Path,
    target: Path | None = None,
    seed: int = 0,
    *,
    settings: Annotated[dict[str, Any], SolverConfig, "solver"],
) -> None:
    """Solve for a dictionary without gradient descent, by alternating convex search or a classical solver.

    Args:
        x: activations: an .npy file, samples x dimensions, or a store (.h5)
        out: folder to write
        target: activations of a second representation, as an .npy file
        seed: everything is drawn from it
    """
    first, second, pair = sites(x, target, settings.get("pair", "sae"))
    dictionary = solve_dictionary(first, target=second, seed=seed, out=out, **settings | {"pair": pair})
    print(f"{dictionary}: {out}")
