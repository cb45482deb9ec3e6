"""The command line, ``sdlcore COMMAND``: what notebooks do, on files."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sdlcore.api.bench import Bench
from sdlcore.api.dictionary import Dictionary, load
from sdlcore.api.exporting import export as export_dictionary
from sdlcore.api.exporting import export_set
from sdlcore.api.fitting import class_means, discover, unit_anchors
from sdlcore.api.fitting import fit as fit_dictionary
from sdlcore.api.inputs import STORES, array
from sdlcore.api.inside import contexts as find_contexts
from sdlcore.api.layers import CHECKPOINT, folder_of
from sdlcore.api.layers import fit_layers as fit_every_layer
from sdlcore.api.scoring import Scores
from sdlcore.api.scoring import evaluate as evaluate_dictionary
from sdlcore.api.standard import STANDARD, standard_bench
from sdlcore.command_line import commands
from sdlcore.data.anchors import Anchors, load_anchors
from sdlcore.data.references import load_references, save_references
from sdlcore.data.writing import create_store
from sdlcore.device import Device
from sdlcore.inside.places import Place
from sdlcore.interop.export import check_settings
from sdlcore.interop.tensors import Layout
from sdlcore.run import LossConfig, ModelConfig, TrainingConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sources.bench import drawing
from sdlcore.sources.bench.settings import BenchSource
from sdlcore.storage.files import provenance, write_json

CLASS_MEANS, DISCOVER = "class-means", "discover"
LAMBDA_ANCHOR = 0.1
"""The weight of anchors where they are given without one: the paper's on the bench."""
FEATURES, REFERENCES = "features.safetensors", "references.safetensors"

QUIET = ("progress", "rules", "host", "reason")
"""What Snakemake is not to say beside a plan."""
Format = Literal["saelens", "dictionary_learning", "sparsify", "circuit_tracer"]
SetFormat = Literal["circuit_tracer"]
Readable = Literal["sdlcore", "saelens", "dictionary_learning", "sparsify", "tensors"]
Given = Annotated[Path, tyro.conf.Positional]


def bench(out: Path, settings: BenchSource = BenchSource(), seed: int = 0) -> None:
    """Draw a bench: its true features, and samples for training and evaluation.

    Writes features.safetensors, train.h5 and test.h5.

    Args:
        out: folder to write
        seed: everything is drawn from it
    """
    drawn = Bench.draw(seed=seed, **asdict(settings) | {"hierarchy": settings.hierarchy})
    facts = provenance(drawing.__file__, bench=asdict(settings), seed=seed)
    for part, rows in (("train", settings.train_samples), ("test", settings.test_samples)):
        with create_store(out / f"{part}.h5", facts | {"part": part}) as store:
            found = drawn.samples(rows, part)
            store.append(found.input, target=found.target, features=found.features)
    save_references(out / FEATURES, drawn.references, facts)
    print(f"{drawn}: {out / 'train.h5'}, {out / 'test.h5'}, {out / FEATURES}")


def fit(
    x: Given,
    out: Path,
    target: Path | None = None,
    labels: Path | None = None,
    anchors: str | None = None,
    n_anchors: float | None = None,
    start: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    model: ModelConfig = ModelConfig(),
    loss: LossConfig = LossConfig(),
    training: TrainingConfig = TrainingConfig(),
) -> None:
    """Train a dictionary on activations.

    Writes model.safetensors, config.json and history.csv; of anchors and labels, anchors.safetensors and
    references.safetensors, which `sdlcore evaluate` reads. A training that was cut off goes on where it was.

    Args:
        x: activations: an .npy file, samples x dimensions, or a store (.h5)
        out: folder to write
        target: activations that a transcoder writes, or a crosscoder's second site, as an .npy file
        labels: class numbers or names, a sample each, as an .npy file
        anchors: class-means (needs labels), discover (needs none), or a file: anchors (.safetensors), unit rows (.npy)
        n_anchors: how many, or, below 1, which share of the class means; all if left out
        start: a dictionary whose latents the first latents start from
        seed: everything is drawn from it
        device: where to train
    """
    settings: dict[str, Any] = model.to_dict() | loss.to_dict() | training.to_dict()
    del settings["pursuit"]
    if target is not None and model.pair == "sae":
        settings["pair"] = "transcoder"
    both: tuple[Any, Any] = ([x, target], None) if settings["pair"] == "crosscoder" and target else (x, target)
    given: Any = None
    means = None
    if labels is not None:
        means = class_means(both[0], array(labels, "labels"), both[1])
    if anchors == CLASS_MEANS and labels is None and x.suffix not in STORES:
        raise ValueError("--anchors class-means needs --labels: an .npy file with a class a sample")
    if anchors == CLASS_MEANS:
        means = means or class_means(both[0], None, both[1])
        given = means.choose(n_anchors or means.W_p.shape[1], seed)
    elif anchors == DISCOVER:
        given = discover(both[0], None if n_anchors is None else int(n_anchors), both[1], seed=seed)
    elif anchors is not None:
        given = _anchors(Path(anchors))
    if given is not None and not loss.anchors:
        settings["lambda_anchor"] = LAMBDA_ANCHOR
    found = fit_dictionary(
        *both,
        seed=seed,
        anchors=given,
        start=None if start is None else load(start),
        device=device,
        checkpoint=out / CHECKPOINT,
        **settings,
    )
    found.save(out)
    if means is not None:
        save_references(out / REFERENCES, means, {})
    print(f"{found}: {out}")


def fit_layers(
    model: str,
    text: str,
    out: Path,
    layers: tuple[int, ...] = (),
    tokens: int = 200_000,
    context_length: int | None = None,
    to: SetFormat | None = None,
    model_name: str | None = None,
    seed: int = 0,
    device: Device = "auto",
    dictionary: ModelConfig = ModelConfig(pair="transcoder"),
    loss: LossConfig = LossConfig(),
    training: TrainingConfig = TrainingConfig(),
) -> None:
    """Train a dictionary for each layer of a language model: transcoders of MLPs, or autoencoders of the stream.

    Writes a run's folder for each layer: layer_1, layer_2 and so on. A call that was cut off goes on where it was.

    Args:
        model: a folder with a transformers model, or its name at the hub
        text: a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME
        out: folder to write
        layers: blocks, counted from 1, e.g. 3 4; all if left out
        tokens: at most so many are read
        context_length: tokens that the model is shown at once; 128, or as many as it takes, if left out
        to: library to write the set for, into a folder of its name beside the runs; refused before the training if the
            library cannot express it
        model_name: what that library is to call the language model; as given to --model if left out
        seed: everything is drawn from it, the same for each layer
        device: where the model runs and dictionaries are trained
    """
    if to is not None:
        check_settings(dictionary, to)
        if layers:
            raise ValueError(f"--layers goes without --to {to}: a set has all layers of the language model")
    settings: dict[str, Any] = dictionary.to_dict() | loss.to_dict() | training.to_dict()
    del settings["pursuit"]
    found = fit_every_layer(
        model,
        text,
        layers=layers or None,
        tokens=tokens,
        out=out,
        seed=seed,
        device=device,
        context_length=context_length,
        **settings,
    )
    for one in found:
        print(f"{one}: {out / folder_of(one.provenance['activations']['where']['layer'])}")
    if to is not None:
        print(export_set(found, to, out / to, model_name=model_name or model))


def solve(
    x: Given, out: Path, target: Path | None = None, seed: int = 0, solver: SolverConfig = SolverConfig()
) -> None:
    """Solve for a dictionary without gradient descent, by alternating convex search or a classical solver.

    Args:
        x: activations: an .npy file, samples x dimensions, or a store (.h5)
        out: folder to write
        target: activations of a second representation, as an .npy file
        seed: everything is drawn from it
    """
    settings: dict[str, Any] = solver.to_dict()
    if target is not None and solver.pair == "sae":
        settings["pair"] = "transcoder"
    both: tuple[Any, Any] = ([x, target], None) if settings["pair"] == "crosscoder" and target else (x, target)
    found = fit_dictionary(*both, seed=seed, **settings)
    found.save(out)
    print(f"{found}: {out}")


def evaluate(
    dictionary: Given,
    bench: str | None = None,
    x: Path | None = None,
    target: Path | None = None,
    labels: Path | None = None,
    references: Path | None = None,
    anchors: Path | None = None,
    nulls: bool = True,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Score a dictionary: against true features, means of classes, or by its reconstructions alone.

    Args:
        dictionary: a run's folder, or a .safetensors file
        bench: lrb-s, lrb-m or lrb-l, or a folder that `sdlcore bench` wrote
        x: samples to evaluate on where there is no bench: an .npy file or a store (.h5)
        target: the second representation of the same samples, as an .npy file
        labels: class numbers or names of these samples, as an .npy file. The run's own means of classes are judged by,
            or those of these samples where it has none
        references: unit directions to judge by, instead of means of classes
        anchors: those of the training, where the run's folder does not hold them (.safetensors, or unit rows as .npy)
        nulls: score dictionaries of the same size beside it that nothing was learned for
        seed: of everything random
        out: JSON file to write all metrics to
    """
    options: dict[str, Any] = {"seed": seed, "nulls": nulls}
    options["anchors"] = None if anchors is None else _anchors(anchors)
    found = load(dictionary)
    if references is None and labels is not None and (dictionary / REFERENCES).is_file():
        references = dictionary / REFERENCES
    if bench in STANDARD:
        scores = evaluate_dictionary(found, standard_bench(bench), **options)
    elif bench is not None:
        if not (Path(bench) / FEATURES).is_file():
            raise ValueError(
                f"{bench}: no bench; expected {', '.join(STANDARD)}, or a folder that `sdlcore bench` wrote"
            )
        judges = load_references(Path(bench) / FEATURES)
        scores = evaluate_dictionary(found, judges, Path(bench) / "test.h5", **options)
    else:
        scores = _of_samples(found, x, target, labels, references, options)
    print(f"{found}\n{scores}")
    if out is not None:
        write_json(out, {"metrics": scores.metrics, "chance": scores.chance, "nulls": scores.nulls})


def contexts(
    dictionary: Given,
    model: str,
    text: str,
    latents: list[int],
    out: Path,
    layer: int | None = None,
    place: Place | None = None,
    tokens: int = 200_000,
    number: int = 20,
) -> None:
    """Show what single latents respond to and write in a language model, as pages of HTML.

    Args:
        dictionary: a run's folder, or a .safetensors file
        model: a folder with a transformers model, or its name at the hub
        text: a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME
        latents: which, e.g. 724 31
        out: folder to write: index.html, and a page for each latent
        layer: block that the dictionary was fitted on, counted from 1; known of those that were fitted on a store
        place: residual, mlp, mlp_input or mlp_output; residual for an autoencoder, mlp for a transcoder if left out
        tokens: at most so many are read
        number: contexts of each latent
    """
    pages = find_contexts(
        load(dictionary), model, text, latents, layer=layer, place=place, tokens=tokens, number=number
    )
    print(pages)
    print(pages.to_html(out))


def _anchors(path: Path) -> Anchors:
    if path.suffix == ".npy":
        return unit_anchors(array(path, "anchors"))
    return load_anchors(path)


def _of_samples(
    found: Dictionary,
    x: Path | None,
    target: Path | None,
    labels: Path | None,
    references: Path | None,
    options: dict[str, Any],
) -> Scores:
    if x is None:
        raise ValueError("say what to evaluate on: --bench, or --x")
    given = [x, target] if found.pair == "crosscoder" and target else x
    second = None if isinstance(given, list) else target
    numbers = None if labels is None else array(labels, "labels")
    judges = None
    if references is not None:
        judges = load_references(references)
    elif numbers is not None:
        judges = class_means(given, numbers, second)
    return evaluate_dictionary(found, judges, given, second, labels=numbers, **options)


def export(
    dictionary: Given,
    to: Format,
    out: Path,
    model_name: str | None = None,
    hook_name: str | None = None,
    hook_name_out: str | None = None,
    lm_name: str | None = None,
    layer: int | None = None,
    submodule_name: str | None = None,
) -> None:
    """Write a dictionary as another library opens it. What the library cannot express is refused, with a reason.

    Args:
        dictionary: a run's folder, or a .safetensors file
        to: the library
        out: folder to write
        model_name: language model that the activations come from (saelens, circuit_tracer)
        hook_name: where they come from, by TransformerLens' name (saelens)
        hook_name_out: where a transcoder writes (saelens)
        lm_name: language model (dictionary_learning)
        layer: layer of it, counted from 0 (dictionary_learning)
        submodule_name: where in the layer (dictionary_learning)
    """
    given = {
        "model_name": model_name,
        "hook_name": hook_name,
        "hook_name_out": hook_name_out,
        "lm_name": lm_name,
        "layer": layer,
        "submodule_name": submodule_name,
    }
    options = {name: value for name, value in given.items() if value is not None}
    print(export_dictionary(load(dictionary), to, out, **options))


def import_(
    dictionary: Annotated[str, tyro.conf.Positional],
    out: Path,
    format: Readable | None = None,
    subfolder: str = "",
    revision: str | None = None,
    activation: str | None = None,
    k: int | None = None,
    threshold: float | None = None,
    layout: Layout | None = None,
    apply_b_dec_to_input: bool = False,
) -> None:
    """Open a dictionary of another library, or plain tensors, and write it as ours.

    Args:
        dictionary: a folder or a file, or OWNER/NAME at the model hub
        out: folder to write
        format: the library; told by the names of files if left out
        subfolder: folder in it that holds the dictionary
        revision: the hub's branch, tag or commit
        activation: of plain tensors, which do not say it: relu, jumprelu, topk or batchtopk
        k: of plain tensors: active latents of a sample
        threshold: of plain tensors: one for all latents, where the file holds none
        layout: of plain tensors: whether rows or columns are latents, where shapes do not tell
        apply_b_dec_to_input: of plain tensors: b_dec is subtracted from inputs
    """
    given = {"activation": activation, "k": k, "threshold": threshold, "layout": layout}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if apply_b_dec_to_input:
        options["apply_b_dec_to_input"] = True
    found = load(dictionary, format, subfolder=subfolder, revision=revision, **options)
    found.save(out)
    print(f"{found}: {out}")


def plan(
    product: Annotated[str | None, tyro.conf.Positional] = None,
    configfile: tuple[Path, ...] = (),
) -> None:
    """Say what the pipeline in this folder would take, and what of it is left: jobs, disk, memory and hours.

    Args:
        product: a table or figure, such as table1; everything if left out
        configfile: configurations, the last of which count most
    """
    if product and Path(product).suffix in (".yaml", ".yml"):
        raise ValueError(f"{product} is a configuration; write --configfile {product}")
    if not Path("Snakefile").is_file():
        raise ValueError("no Snakefile here; run this in a clone of sdlcore, or in a folder whose workflow imports it")
    files = ["--configfile", *map(str, configfile)] if configfile else []
    target = f"plan_{product}" if product else "plan"
    done = subprocess.run([sys.executable, "-m", "snakemake", target, "--cores", "1", "--quiet", *QUIET, *files])
    if done.returncode:
        raise SystemExit(done.returncode)


COMMANDS = {
    command.__name__.rstrip("_").replace("_", "-"): command
    for command in (bench, fit, fit_layers, solve, evaluate, export, import_, contexts, plan)
}


def main(argv: list[str] | None = None) -> None:
    """Run a command of the command line."""
    commands("sdlcore", __doc__ or "", COMMANDS, argv)
