"""Arguments that several commands take, and the files that they read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from sdlcore.api.anchors import as_anchors
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.inputs import array, is_store
from sdlcore.api.loading import load
from sdlcore.benches.config import BenchSource
from sdlcore.benches.lrb import STANDARD, Bench, standard_bench
from sdlcore.data.anchors import Anchors, load_anchors
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import load_references
from sdlcore.inside.hooks import Place
from sdlcore.interop.tensors import UnsaidError
from sdlcore.settings import Pair
from sdlcore.storage.paths import user_path

FEATURES, REFERENCES = "features.safetensors", "references.safetensors"
"""True features in a bench's folder, and means of classes in a run's."""
InputPath = Annotated[Path, tyro.conf.Positional]
_SEVERAL = tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="(required)")
InputPaths = Annotated[tuple[Path, ...], tyro.conf.Positional, _SEVERAL]
"""One path or more."""
LanguageModel = Annotated[str, tyro.conf.arg(help="a folder with a transformers model, or its name at the hub")]
Documents = Annotated[
    str, tyro.conf.arg(help="a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME")
]
TextColumn = Annotated[
    str, tyro.conf.arg(help="key of JSON lines, column of Parquet files and data sets, that contains the text")
]
ContextLength = Annotated[
    int | None,
    tyro.conf.arg(help="tokens that the model reads at once; if left out, 128, or fewer if the model takes fewer"),
]
FittedLayer = Annotated[
    int | str | None,
    tyro.conf.arg(
        help="block that the dictionary was fitted on, counted from 1, or blocks.11.hook_resid_post or model.layers.11 "
        "for block 12. Runs of the pipeline, and of `sdlcore fit` on a language model's store, record it"
    ),
]
FittedPlace = Annotated[
    Place | None,
    tyro.conf.arg(
        help="a site (residual, residual_before, residual_middle, attention_output, mlp_input, mlp_output), mlp, or "
        "PATH:input or PATH:output of a module; residual for an autoencoder, mlp for a transcoder if left out"
    ),
]


def sites(x: Path, target: Path | None, pair: Pair) -> tuple[Any, Path | None, Pair]:
    """Return inputs and targets as `sdlcore.fit` takes them, and the pair that they are for.

    An input with a target trains a transcoder, or a crosscoder if ``pair`` is crosscoder. A store contains its target.

    Raises
    ------
    ValueError
        If the pair needs a target that is not given.
    """
    if target is None and pair != "sae" and not is_store(x):
        raise ValueError(f"a {pair} needs --target, an .npy file, or a store (.h5) that has one")
    if target is None:
        return x, None, pair
    return ([x, target], None, pair) if pair == "crosscoder" else (x, target, "transcoder")


def opened(dictionary: Path) -> Dictionary:
    """Open a dictionary.

    Raises
    ------
    ValueError
        If it cannot be opened. For plain tensors that need options, the message shows a command that takes them.
    """
    try:
        return load(dictionary)
    except UnsaidError as error:
        first = f"sdlcore import {dictionary} --activation topk --k 8 --out run"
        raise ValueError(f"{error}: first write it as a run with these options, such as `{first}`") from error


def opened_all(dictionaries: Sequence[Path]) -> dict[Path, Dictionary]:
    """Open dictionaries by their paths; ValueError as `opened`, or if there is none."""
    if not dictionaries:
        raise ValueError("give a dictionary: a run's folder, a .safetensors file, or a folder of another library")
    return {path: opened(path) for path in dictionaries}


def read_bench(name: str) -> Bench:
    """Return a standard bench, or the one that `sdlcore bench` wrote into a folder.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if name in STANDARD:
        return standard_bench(name)
    folder = user_path(name, "the bench")
    if not (folder / FEATURES).is_file():
        raise ValueError(f"{name}: no bench; expected {', '.join(STANDARD)}, or a folder that `sdlcore bench` wrote")
    features = load_references(folder / FEATURES)
    with ActivationStore(folder / "test.h5") as store:
        provenance: Any = store.provenance
    if not {"bench", "seed"} <= provenance.keys():
        raise ValueError(f"{folder / 'test.h5'}: no samples of a bench; expected a folder that `sdlcore bench` wrote")
    return Bench(BenchSource.from_dict(provenance["bench"]), provenance["seed"], features.W_p, features.W_r)


def read_anchors(path: Path) -> Anchors:
    """Read anchors from a file: unit rows (.npy), or anchors (.safetensors)."""
    return load_anchors(path) if path.suffix == ".safetensors" else as_anchors(array(path, "anchors"))


def with_values(**options: Any) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}
