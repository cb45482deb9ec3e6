"""Draw a bench, and fit dictionaries."""

from pathlib import Path
from typing import Annotated, Any

import sdlcore as sdl
from sdlcore.benches.config import BenchSource
from sdlcore.benches.known_features import Part
from sdlcore.commands.evaluating import FEATURES, REFERENCES, read_anchors, read_bench
from sdlcore.commands.signatures import OUT, InputPath, arg
from sdlcore.config import Config, is_centred
from sdlcore.data.conversion import array, is_store
from sdlcore.data.references import References, save_references
from sdlcore.data.writing import resume_store
from sdlcore.device import Device
from sdlcore.dictionary.run_folder import run_folder
from sdlcore.fitting.start import opened_start, with_architecture
from sdlcore.identity import provenance
from sdlcore.settings import Pair, Split, default_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import user_path
from sdlcore.storage.yaml_files import load_yaml
from sdlcore.suggestions import did_you_mean
from sdlcore.user_warnings import is_first_process

CLASS_MEANS, DISCOVER = "class-means", "discover"
TrainingOptions = Annotated[dict[str, Any], Config, "activation", "loss term"]
"""Settings of a training that are given, by name."""
TargetPath = Annotated[
    Path | None, arg(help="activations that a transcoder writes, or a crosscoder's second site, as an .npy file")
]
LabelsPath = Annotated[
    Path | None,
    arg(
        help="class numbers or names, a sample each, as an .npy file. Their means are centred with --normalise or "
        "--whiten"
    ),
]
AnchorsOption = Annotated[
    str | None,
    arg(
        help="class-means (needs labels), discover (needs none), or a file: anchors (.safetensors), unit rows (.npy). "
        "Their weight, --lambda-anchor, is 0.1 if left out"
    ),
]
AnchorsNumber = Annotated[
    float | None,
    arg(
        help="how many class means or discovered directions, or, below 1, which share of the class means; all if left "
        "out"
    ),
]


def bench(out: OUT, seed: int = 0, *, settings: Annotated[dict[str, Any], BenchSource]) -> None:
    """Draw a bench: its true features, and samples for training and evaluation.

    Writes features.safetensors, train.h5 and test.h5. Another bench is never overwritten.

    Args:
        seed: everything is drawn from it
    """
    new_bench = sdl.Bench.draw(seed=seed, **settings)
    source = new_bench.settings
    facts = provenance(bench=source.to_dict(), seed=seed)
    if (out / FEATURES).exists():
        stored_bench = read_bench(str(out))
        if (stored_bench.settings, stored_bench.seed) != (source, seed):
            raise ValueError(f"{out}: holds a different bench, {stored_bench}. Choose another folder.")
    (out / FEATURES).unlink(missing_ok=True)  # written last, so that a folder with it has all samples
    sizes: dict[Part, int] = {"train": source.train_samples, "test": source.test_samples}
    for part, rows in sizes.items():
        with resume_store(out / f"{part}.h5", facts | {"part": part}, "float32") as store:
            bench_samples = new_bench.samples(rows, part)
            store.append(bench_samples.input, target=bench_samples.target, features=bench_samples.features)
    save_references(out / FEATURES, new_bench.references, facts)
    print(f"{new_bench}: {out / 'train.h5'}, {out / 'test.h5'}, {out / FEATURES}")


def fit(
    x: InputPath,
    out: OUT,
    target: TargetPath = None,
    labels: LabelsPath = None,
    anchors: AnchorsOption = None,
    n_anchors: AnchorsNumber = None,
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
    """
    run_folder(out)
    opened = opened_start(start)
    pair = settings.get("pair", "sae" if opened is None else opened.pair)
    first, second, settings["pair"] = inputs_and_pair(x, target, pair)
    completed = settings if opened is None else with_architecture(opened, settings)
    means, directions = means_and_anchors(first, second, labels, anchors, n_anchors, seed, completed)
    options: dict[str, Any] = {"anchors": directions, "start": opened, "seed": seed, "device": device, "split": split}
    dictionary = sdl.fit(first, second, out=out, **options, **settings)
    if is_first_process():
        if means is not None:
            save_references(out / REFERENCES, means, {})
        print(f"{dictionary}: {out}")


def fit_many(
    x: InputPath,
    runs: Path,
    out: OUT,
    target: TargetPath = None,
    labels: LabelsPath = None,
    anchors: AnchorsOption = None,
    n_anchors: AnchorsNumber = None,
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
        runs: a YAML file with each run's name and own settings, such as "wide: {n_q: 4096, seed: 1}". A run
            with "anchors: null" is not anchored; one with "start: PATH" continues from that dictionary
    """
    first, second, settings["pair"] = inputs_and_pair(x, target, settings.get("pair", "sae"))
    settings_of_runs = load_yaml(runs)
    if not isinstance(settings_of_runs, dict) or not all(isinstance(one, dict) for one in settings_of_runs.values()):
        raise ValueError(f"{runs}: expected names of runs, each with its settings, such as wide: {{n_q: 4096}}")
    scalings = [{**settings, **one} for one in settings_of_runs.values()]
    if len({_centred(one) for one in scalings}) > 1 and (labels is not None or anchors is not None):
        raise ValueError(f"{runs}: runs differ in normalise or whiten, but means of classes fit only one of them")
    means, directions = means_and_anchors(
        first, second, labels, anchors, n_anchors, seed, scalings[0] if scalings else {}
    )
    options: dict[str, Any] = {"anchors": directions, "seed": seed, "device": device, "at_once": at_once}
    dictionaries = sdl.fit_many(first, settings_of_runs, second, out=out, **options, **settings)
    for name, dictionary in dictionaries.items():
        if means is not None:
            save_references(out / str(name) / REFERENCES, means, {})
        print(f"{dictionary}: {out / str(name)}")


def solve(
    x: InputPath,
    out: OUT,
    target: TargetPath = None,
    seed: int = 0,
    *,
    settings: Annotated[dict[str, Any], SolverConfig, "solver"],
) -> None:
    """Solve for a dictionary without gradient descent, by alternating convex search or a classical solver."""
    first, second, settings["pair"] = inputs_and_pair(x, target, settings.get("pair", "sae"))
    dictionary = sdl.solve(first, target=second, seed=seed, out=out, **settings)
    print(f"{dictionary}: {out}")


def inputs_and_pair(x: Path, target: Path | None, pair: Pair) -> tuple[Any, Path | None, Pair]:
    """Return inputs and targets as `sdlcore.fit` takes them, and the pair that they are for.

    An input with a target trains a transcoder, or a crosscoder if ``pair`` is crosscoder. A store contains its target.
    """
    if target is not None:
        return ([x, target], None, pair) if pair == "crosscoder" else (x, target, "transcoder")
    if pair != "sae" and not is_store(x):
        raise ValueError(f"a {pair} needs --target, an .npy file, or a store (.h5) that has one")
    return x, None, pair


def _centred(settings: dict[str, Any]) -> bool:
    return is_centred({name: settings.get(name, default_of(Config, name)) for name in ("normalise", "whiten")})


def means_and_anchors(
    x: Any,
    target: Path | None,
    labels: Path | None,
    anchors: str | None,
    n_anchors: float | None,
    seed: int,
    settings: dict[str, Any],
) -> tuple[References | None, sdl.Anchors | None]:
    """Return the means of classes, if there are labels, and the anchors that ``anchors`` names."""
    if anchors == CLASS_MEANS and labels is None and not is_store(x):
        raise ValueError("--anchors class-means needs --labels: an .npy file with a class a sample")
    if n_anchors is not None and anchors not in (CLASS_MEANS, DISCOVER):
        raise ValueError(f"--n-anchors needs --anchors {CLASS_MEANS} or {DISCOVER}; all anchors of a file are taken")
    means = None
    if labels is not None or anchors == CLASS_MEANS:
        classes = None if labels is None else array(labels, "labels")
        means = sdl.class_means(x, classes, target, centred=_centred(settings))
    if anchors is None:
        return means, None
    if anchors == DISCOVER:
        whole = int(n_anchors) if n_anchors is not None and n_anchors.is_integer() else n_anchors
        return means, sdl.discover(x, whole, target, seed=seed)  # type: ignore[arg-type]  # it checks the number
    if means is not None and anchors == CLASS_MEANS:
        return means, means.choose(means.W_p.shape[1] if n_anchors is None else n_anchors, seed)
    path = user_path(anchors, "--anchors")
    if not path.is_file():
        hint = did_you_mean(anchors, (CLASS_MEANS, DISCOVER))
        raise ValueError(f"--anchors must be {CLASS_MEANS}, {DISCOVER} or a file, found {anchors}{hint}")
    return means, read_anchors(path)
