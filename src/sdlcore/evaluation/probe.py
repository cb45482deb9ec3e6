"""Probe labels from few latents: how well do single latents separate classes of documents?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse
import torch

from sdlcore.data.arrays import Activations
from sdlcore.data.conversion import activations, class_numbers
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import ONLY, coders_of
from sdlcore.dictionary.samples import require_width
from sdlcore.evaluation.score import null_dictionaries
from sdlcore.extras import data_frame, extra
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream
from sdlcore.text import table

if TYPE_CHECKING:
    import pandas as pd

ROWS_AT_ONCE = 8192
FEWEST = 10
"""Documents that a class needs to be probed."""
RAW, PCA, NULL = "raw", "pca", "null: "
"""Names in results: activations, their principal components, and the prefix of null dictionaries."""


class Probe(NamedTuple):
    """One classifier, judged on held-out documents."""

    features: str
    """Name of a dictionary; raw or pca for the activations themselves; or a null dictionary."""
    k: int | None
    """How many features it reads; None for all."""
    label: str
    """The class; all other documents are the rest."""
    auc: float
    """Area under the ROC curve: 0.5 by chance."""
    balanced_accuracy: float
    """Mean of the recalls of class and rest: 0.5 by chance."""


class Probes(list[Probe]):
    """All classifiers; prints their mean over classes as a small table."""

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a classifier."""
        return data_frame(self, columns=Probe._fields)

    def __repr__(self) -> str:
        features, sizes = (dict.fromkeys(getattr(result, field) for result in self) for field in ("features", "k"))
        rows = [["features", *("k=all" if k is None else f"k={k}" for k in sizes)]]
        for name in features:
            values = [[result.auc for result in self if (result.features, result.k) == (name, k)] for k in sizes]
            rows.append([name, *(f"{np.mean(aucs):.3f}" if aucs else "-" for aucs in values)])
        return f"AUC, mean over {len({result.label for result in self})} classes\n{table(rows)}"


def probe(
    dictionaries: Dictionary | SparseCoder | Mapping[str, Dictionary | SparseCoder],
    x: Any,
    labels: Sequence[Any] | Mapping[int, Any],
    *,
    documents: Sequence[int] | np.ndarray | None = None,
    k: int | Iterable[int | None] = (1, 4, 16, None),
    held_out: float = 0.3,
    seed: int = 0,
    nulls: bool = True,
) -> Probes:
    """Fit logistic regressions that tell classes of documents apart by few latents, beside raw activations and PCA.

    A document's features are means over its rows. Each classifier separates one class from all other documents. It
    reads the k features with the largest difference between the two, in standard deviations, chosen on its training
    documents. Training and test documents have no rows in common.

    Parameters
    ----------
    dictionaries
        A dictionary, or several in a mapping from names.
    x
        A store that `extract` wrote, or N x n_p activations.
    labels
        A class (a whole number or a name) for each document, in the order of their numbers; None for documents to leave
        out. Or a mapping from a document's number to its class.
    documents
        The number of each row's document (N). None for the numbers in the store; without these, as for an array, each
        row is a document.
    k
        Number of features that a classifier reads, or several numbers; None for all features.
    held_out
        Share of the documents of each class that classifiers are tested on; the rest train them.
    seed
        Seed of the split and of the null dictionaries.
    nulls
        Also probe untrained dictionaries with the size and L0 of the first one: ``null: directions`` and
        ``null: samples``, as in `evaluate`.

    Returns
    -------
    The scores of a classifier for each kind of features, k and class of ten documents or more: a list with `to_frame`.

    Raises
    ------
    ValueError
        If a dictionary contains NaN or its width does not fit ``x``; if there are fewer than two classes, or no class
        has ten documents; or if a sequence of labels does not fit the documents.
    """
    several = [*k] if isinstance(k, Iterable) else [k]
    coders = coders_of(dictionaries if isinstance(dictionaries, Mapping) else {ONLY: dictionaries})
    if reserved := coders.keys() & {RAW, PCA}:
        raise ValueError(f"dictionaries has the name {reserved.pop()!r}, which the results use; choose another name")
    with activations(x) as samples:
        for coder in coders.values():
            require_width((samples.rows, samples.widths[0]), coder.W_enc.shape[1])
        document_of_row = _documents(samples, documents)
        by_number = _classes(labels, document_of_row)
        numbers = [number for number in np.unique(document_of_row).tolist() if number in by_number]
        classes = np.array([by_number[number] for number in numbers])
        counts = Counter(classes.tolist())
        probed_classes = sorted(name for name, count in counts.items() if count >= FEWEST)
        if len(counts) < 2 or not probed_classes:
            raise ValueError(
                f"labels: {len(numbers)} documents of x have {len(counts)} classes, of which {len(probed_classes)} "
                f"have {FEWEST} documents; expected two classes or more, one of them with {FEWEST}"
            )
        train = _split(classes, held_out, seed)
        pool = _pooling(document_of_row, numbers)
        if nulls:
            first = next(iter(coders.values()))
            active = max(1, round(_l0(first, samples)))
            coders |= {
                f"{NULL}{name}": null for name, null in null_dictionaries(first, samples, active, seed, False).items()
            }
        raw = _pooled(pool, samples, None)
        features = {RAW: raw, **{name: _pooled(pool, samples, coder) for name, coder in coders.items()}}
    features[PCA] = _components(raw, train)
    return Probes(
        _fitted(name, few, label, scaled, classes == label, train)
        for name, scaled in ((name, _standardised(values, train)) for name, values in features.items())
        for few in several
        for label in probed_classes
    )


def _l0(coder: SparseCoder, samples: Activations) -> float:
    """Return the mean number of active latents over the first samples."""
    first = torch.from_numpy(samples.read("input", 0, ROWS_AT_ONCE).astype(np.float32))
    with torch.no_grad():
        return float(coder.encode_csr(first.to(coder.W_enc.device)).nnz / len(first))


def _documents(samples: Activations, documents: Any) -> np.ndarray:
    """Return the number of each row's document."""
    if documents is not None:
        return np.asarray(documents)
    has = samples.has("references/document")
    return samples.read("references/document") if has else np.arange(samples.rows)


def _classes(labels: Sequence[Any] | Mapping[int, Any], documents: np.ndarray) -> dict[int, str]:
    """Return the class of each document that has one."""
    keys = list(labels) if isinstance(labels, Mapping) else range(len(labels))
    last, is_each_row = documents.max(initial=-1), np.array_equal(documents, np.arange(len(documents)))
    if not isinstance(labels, Mapping) and (len(labels) <= last or (is_each_row and len(labels) != len(documents))):
        raise ValueError(
            f"labels has {len(labels)} entries, but x has documents up to number {last}; give a label for each "
            "document, None for documents to leave out"
        )
    classes: Any = class_numbers(list(labels.values()) if isinstance(labels, Mapping) else labels)
    numbers, names = classes  # None only without labels
    return {key: names[number] for key, number in zip(keys, numbers.tolist(), strict=True) if number >= 0}


def _pooling(documents: np.ndarray, numbers: Sequence[int]) -> scipy.sparse.csr_array:
    """Return the matrix, documents x rows, that takes means over each document's rows."""
    place = {number: at for at, number in enumerate(numbers)}
    rows = np.flatnonzero(np.isin(documents, numbers))
    at = np.array([place[number] for number in documents[rows].tolist()])
    counts = np.bincount(at, minlength=len(numbers))
    shape = (len(numbers), len(documents))
    return scipy.sparse.csr_array((1 / counts[at], (at, rows)), shape=shape)


@torch.no_grad()
def _pooled(pool: scipy.sparse.csr_array, samples: Activations, coder: SparseCoder | None) -> np.ndarray:
    """Return the mean activations or latents of each document."""
    means: Any = 0
    for start in range(0, samples.rows, ROWS_AT_ONCE):
        x = samples.read("input", start, start + ROWS_AT_ONCE).astype(np.float32)
        values = x if coder is None else coder.encode_csr(torch.from_numpy(x).to(coder.W_enc.device))
        part = pool[:, start : start + len(x)] @ values
        means = means + (part if isinstance(part, np.ndarray) else part.toarray())
    return np.asarray(means, dtype=np.float64)


def _split(classes: np.ndarray, held_out: float, seed: int) -> np.ndarray:
    """Return which documents classifiers are fitted to: the same share of each class."""
    train = np.ones(len(classes), dtype=bool)
    rng = stream(seed, "probes")
    for label in np.unique(classes):
        documents = rng.permutation(np.flatnonzero(classes == label))
        train[documents[: round(held_out * len(documents))]] = False
    return train


def _components(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    mean = x[train].mean(0)
    _, _, directions = np.linalg.svd(x[train] - mean, full_matrices=False)
    return np.asarray((x - mean) @ directions.T)


def _standardised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return features in standard deviations over the training documents, without features that are constant there."""
    spread = values[train].std(0)
    alive = np.flatnonzero(spread > 0)
    return np.asarray((values[:, alive] - values[train][:, alive].mean(0)) / spread[alive])


def _fitted(name: str, k: int | None, label: str, scaled: np.ndarray, is_class: np.ndarray, train: np.ndarray) -> Probe:
    with extra("sklearn"):
        from sklearn.linear_model import LogisticRegression  # only here: it takes a while to import
        from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    if not scaled.shape[1]:
        return Probe(name, k, label, 0.5, 0.5)  # no feature differs between documents
    if k is not None:
        difference = scaled[train & is_class].mean(0) - scaled[train & ~is_class].mean(0)
        scaled = scaled[:, np.argsort(-np.abs(difference), kind="stable")[:k]]
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(scaled[train], is_class[train])
    test_rows = scaled[~train]
    return Probe(
        name,
        k,
        label,
        float(roc_auc_score(is_class[~train], model.decision_function(test_rows))),
        float(balanced_accuracy_score(is_class[~train], model.predict(test_rows))),
    )
