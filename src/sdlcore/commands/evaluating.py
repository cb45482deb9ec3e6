"""Score dictionaries, and show the contexts and images of their latents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdlcore.api.anchors import class_means
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.inputs import activations, array
from sdlcore.api.inside import contexts as find_contexts
from sdlcore.api.inside import top_images as find_images
from sdlcore.api.scoring import Scores
from sdlcore.api.scoring import evaluate as evaluate_dictionary
from sdlcore.commands.arguments import (
    REFERENCES,
    Documents,
    FittedLayer,
    FittedPlace,
    InputPath,
    InputPaths,
    LanguageModel,
    TextColumn,
    opened,
    opened_all,
    read_anchors,
    read_bench,
    sites,
    with_values,
)
from sdlcore.config import is_centred
from sdlcore.data.recovery_rule import TAU
from sdlcore.data.references import References, load_references
from sdlcore.extraction.config import TextOptions
from sdlcore.storage.files import write_json
from sdlcore.text import number, table


def evaluate(
    dictionaries: InputPaths,
    bench: str | None = None,
    x: Path | None = None,
    target: Path | None = None,
    labels: Path | None = None,
    references: Path | None = None,
    anchors: Path | None = None,
    nulls: bool = True,
    tau: float = TAU,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Score dictionaries: against true features, means of classes, or by their reconstructions alone.

    Several are shown in one table, a row each, without null baselines.

    Args:
        dictionaries: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify; or
            several, such as sweep/*
        bench: lrb-s, lrb-m or lrb-l, or a folder that `sdlcore bench` wrote
        x: samples to evaluate on where there is no bench: an .npy file, or a store (.h5) with its target and labels
        target: the second representation of the same samples, as an .npy file
        labels: class numbers or names of these samples, as an .npy file. The means of
            these classes judge the dictionary, unless the run's folder contains means
        references: directions to judge by, instead of these: means of classes (.safetensors), or unit rows (.npy)
        anchors: anchors of the training, if the run's folder does not contain them (.safetensors, or unit rows as .npy)
        nulls: also score untrained dictionaries of the same size
        tau: threshold of recovery; a feature is recovered if its best cosine exceeds it
        seed: of everything random
        out: JSON file to write all metrics to, of several by their paths
    """
    if bench is not None:
        for name in with_values(x=x, target=target, labels=labels, references=references):
            raise ValueError(f"--{name} goes without --bench, which has samples and true features of its own")
    elif x is None:
        raise ValueError("say what to evaluate on: --bench, or --x")
    alone = len(dictionaries) == 1
    options: dict[str, Any] = {"seed": seed, "nulls": nulls and alone, "tau": tau}
    options["anchors"] = None if anchors is None else read_anchors(anchors)
    opened_dictionaries = opened_all(dictionaries)  # before the first is evaluated
    scores, means = dict[Path, Scores](), set[bytes]()
    if x is None:
        drawn_bench = read_bench(str(bench))
        scores = {path: evaluate_dictionary(one, drawn_bench, **options) for path, one in opened_dictionaries.items()}
    else:
        classes = None if labels is None else array(labels, "labels")
        for path, one in opened_dictionaries.items():
            first, second, _ = sites(x, target, one.pair)
            truth = _references(one, path / REFERENCES, references, first, second, classes)
            scores[path] = evaluate_dictionary(one, truth, first, second, labels=classes, **options)
            means |= {truth.W_p.tobytes()} if isinstance(truth, References) else set()
    print(
        "\n".join(f"{opened_dictionaries[path]}\n{scores[path]}" for path in scores) if alone else _side_by_side(scores)
    )
    if len(means) > 1:
        print("rows are judged by different means of classes; --references names a file for all of them")
    if out is not None:
        parts = {str(path): {"metrics": s.metrics, "chance": s.chance, "nulls": s.nulls} for path, s in scores.items()}
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
    return class_means(x, labels, target, centred=is_centred(dictionary.provenance.get("settings", {})))


def _side_by_side(scores: Mapping[Path, Scores]) -> str:
    """Return the metrics that matter most as a table, a row a dictionary."""
    listed = sorted((result.main_metrics() for result in scores.values()), key=len, reverse=True)
    metrics = list(dict.fromkeys(name for names in listed for name in names))
    rows = [[str(path), *(number(one.metrics.get(name)) for name in metrics)] for path, one in scores.items()]
    return table([["", *metrics], *rows])


def contexts(
    dictionary: InputPath,
    model: LanguageModel,
    text: Documents,
    out: Path,
    latents: tuple[int, ...] = (),
    layer: FittedLayer = None,
    place: FittedPlace = None,
    tokens: int = 200_000,
    number: int = 20,
    text_column: TextColumn = "text",
) -> None:
    """Show what single latents respond to and write in a language model, as pages of HTML.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        latents: numbers of latents, e.g. 724 31; if left out, 20 latents from the most to the least frequent
        out: folder to write: index.html, and a page for each latent
        tokens: number of tokens to read, rounded up to whole contexts
        number: contexts of each latent
    """
    pages = find_contexts(
        opened(dictionary),
        model,
        text,
        latents or None,
        layer=layer,
        place=place,
        tokens=tokens,
        number=number,
        text_options=TextOptions(column=text_column),
    )
    print(pages)
    print(pages.to_html(out))


def top_images(
    dictionary: InputPath,
    x: Path,
    out: Path,
    latents: tuple[int, ...] = (),
    model: str | None = None,
    folder: Path | None = None,
    number: int = 12,
) -> None:
    """Show the images where latents are most active, with a heat map over their patches, in one HTML file.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        x: a store (.h5) that `sdlcore extract` made from images
        out: file to write (.html)
        latents: numbers of latents, e.g. 724 31; if left out, 20 latents from the most to the least frequent
        model: name of the model, as for `sdlcore extract`, whose preprocessing places the heat map; needed for patches
        folder: folder of the images; if left out, the folder that the store was made from
        number: images of each latent
    """
    pages = find_images(opened(dictionary), x, latents or None, model=model, folder=folder, number=number)
    print(pages)
    print(pages.to_html(out))
