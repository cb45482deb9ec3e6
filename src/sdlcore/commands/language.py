"""Judge dictionaries by a language model: its loss, probes of classes of documents, and latents that several share."""

from pathlib import Path
from typing import Literal

from sdlcore.api.comparing import Comparison
from sdlcore.api.comparing import compare as compare_dictionaries
from sdlcore.api.dictionary_arguments import coder_of
from sdlcore.api.inputs import array
from sdlcore.api.language_scoring import language_scores as score_dictionaries
from sdlcore.api.probing import Probes
from sdlcore.api.probing import probe as probe_dictionaries
from sdlcore.api.stability import Stability
from sdlcore.api.stability import stability as match_dictionaries
from sdlcore.commands.arguments import (
    ContextLength,
    FittedLayer,
    FittedPlace,
    InputPath,
    InputPaths,
    LanguageModel,
    TextColumn,
    opened,
    opened_all,
)
from sdlcore.extraction.config import TextOptions
from sdlcore.extraction.text import read_labels
from sdlcore.inside.reader import loaded
from sdlcore.storage.files import write_json, write_text


def language_scores(
    dictionaries: InputPaths,
    model: LanguageModel,
    text: str,
    layer: FittedLayer = None,
    place: FittedPlace = None,
    contexts: int = 64,
    context_length: ContextLength = None,
    text_column: TextColumn = "text",
    out: Path | None = None,
) -> None:
    """Measure what dictionaries cost a language model: cross-entropy and KL divergence, in nats a token.

    Shares recovered compare the reconstruction with zero ablation (activations set to zero) and mean ablation (set to
    their mean): 1 for the clean model, 0 for the ablated one.

    Args:
        dictionaries: runs' folders, .safetensors files, or folders of SAELens, dictionary_learning or sparsify
        text: documents that training did not see: a text file, JSON lines, Parquet, a folder of these, or
            dataset:OWNER/NAME
        contexts: number of contexts from the beginning of the text
        out: JSON file to write all numbers to, of several dictionaries by their paths
    """
    opened_dictionaries = opened_all(dictionaries)
    lm, tokenizer = loaded(model, None, coder_of(opened_dictionaries[dictionaries[0]]).W_enc.device)
    scores = score_dictionaries(
        opened_dictionaries,
        lm,
        text,
        layer=layer,
        place=place,
        contexts=contexts,
        tokenizer=tokenizer,
        context_length=context_length,
        text_options=TextOptions(column=text_column),
    )
    print(scores)
    if out is not None:
        parts = {str(path): score._asdict() for path, score in scores.items()}
        write_json(out, next(iter(parts.values())) if len(parts) == 1 else parts)


def probe(
    dictionaries: InputPaths,
    x: Path,
    labels: Path,
    label_column: str = "label",
    without: tuple[str, ...] = (),
    k: tuple[int | Literal["all"], ...] = (1, 4, 16, "all"),
    held_out: float = 0.3,
    nulls: bool = True,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Probe classes of documents by few latents, beside activations, their principal components and null baselines.

    Each probe is a logistic regression that separates one class from all others. Held-out documents judge it.

    Args:
        dictionaries: runs' folders, .safetensors files, or folders of SAELens, dictionary_learning or sparsify
        x: a language model's store (.h5), or an .npy file with a row for each document
        labels: the text that the store was extracted from (.json, .jsonl, .parquet, or a folder of these), which names
            a class for each document; or an .npy file with the class of each document of the text
        label_column: key or column of the text that names the class; null there means no class
        without: classes whose documents are left out
        k: how many features a probe reads, or all
        held_out: share of documents that judge
        nulls: also probe untrained dictionaries of the first one's size
        seed: of the split and the null baselines
        out: CSV file to write all probes to, a row each
    """
    opened_dictionaries = {str(path): one for path, one in opened_all(dictionaries).items()}
    values = array(labels, "labels").tolist() if labels.suffix == ".npy" else read_labels(labels, label_column)
    classes = [None if str(label) in without else label for label in values]
    several = [None if one == "all" else one for one in k]
    probes = probe_dictionaries(opened_dictionaries, x, classes, k=several, held_out=held_out, nulls=nulls, seed=seed)
    _show(probes, out)


def stability(dictionaries: InputPaths, out: Path | None = None) -> None:
    """Match the latents of dictionaries of the same activations, and print how many of them each two share.

    Decoder columns are matched one to one so that the sum of their cosines is largest, and encoder rows likewise. The
    shares count matches with a cosine above .7 and .9.

    Args:
        dictionaries: two or more: runs' folders, .safetensors files, or folders of SAELens, dictionary_learning or
            sparsify
        out: CSV file to write the pairs to, a row each
    """
    _show(match_dictionaries({str(path): one for path, one in opened_all(dictionaries).items()}), out)


def compare(
    before: InputPath, after: InputPath, x: Path, beside: tuple[Path, ...] = (), out: Path | None = None
) -> None:
    """Measure which latents of a dictionary still mean the same in another one, on the same samples.

    Latents are matched by the cosines of decoder rows. A latent keeps its meaning if half of its active samples and
    half of its 20 top samples stay the same.

    Args:
        before: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        after: the other dictionary, such as a result of search, refine or reencode
        x: samples: a store (.h5) or an .npy file
        beside: further dictionaries to compare the first with, such as another seed's
        out: CSV file to write the measures of each latent to
    """
    others = {str(path): one for path, one in opened_all(beside).items()} if beside else {}
    _show(compare_dictionaries(opened(before), opened(after), x, beside=others), out, index=True)


def _show(result: Probes | Stability | Comparison, out: Path | None, index: bool = False) -> None:
    """Print a table, and write it as CSV if a file is named."""
    print(result)
    if out is not None:
        write_text(out, result.to_frame().to_csv(index=index, lineterminator="\n"))
