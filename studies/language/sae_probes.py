"""Sparse probing by sae-probes 0.4.2 on SmolLM2-135M, without a hub.

    python -m studies.language.sae_probes sets
    python -m studies.language.sae_probes extract results/sae_probes
    python -m studies.language.sae_probes texts results/sae_probes
    python -m studies.language.sae_probes score results/sae_probes
    python -m studies.language.sae_probes summary

It needs an environment with SAELens (`make peers`), sae-probes, scikit-learn, zstandard and xgboost. sae-probes' own
functions split the texts, choose latents and fit the probes. Its wheel contains the texts. ``score`` writes one row for
each features, seed, set and k to ``resources/kept/judged_sae_probes_runs.csv``; an interrupted call goes on.
``summary`` writes means with intervals.
"""

import argparse
import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.evaluation.score import null_dictionaries
from sdlcore.extraction.models import load_any, load_tokenizer
from studies import KEPT
from studies.rows_and_codes.real import MODEL, SMOLLM2, TEST, TRAIN, Rows, articles, cached
from studies.tables import add, finished

log = logging.getLogger("sae_probes")
SETS, RUNS, SUMMARY = (KEPT / f"judged_sae_probes_{name}.csv" for name in ("sets", "runs", "summary"))
KEYS = ["features", "seed", "set", "k"]
FULL = "raw, all coordinates"
DRAWS = 4000
LAYER, HOOK, PLACE, NAME = 12, "blocks.11.hook_resid_post", "resid_post.11", "SmolLM2"
L0 = 32
KS = (1, 16)
SEEDS = (0, 1, 2)
SMALLEST = 24
SPLIT_SEED = 42
"""sae-probes' default; the seed of a dictionary is added to it."""
TOKENS_PER_BATCH = 2048


def sets() -> None:
    """Write the binary sets with the fewest tokens, estimated from 300 texts. Sets that share texts have one source."""
    from sae_probes.run_sae_evals import DATASETS
    from sae_probes.utils_data import read_numbered_dataset_df

    tokenizer = load_tokenizer(cached(MODEL))
    texts = {name: read_numbered_dataset_df(name)["prompt"].astype(str).tolist() for name in DATASETS}
    length = {name: np.mean([len(ids) for ids in tokenizer(its[:300])["input_ids"]]) for name, its in texts.items()}
    chosen = sorted(texts, key=lambda name: length[name] * len(texts[name]))[:SMALLEST]
    source = {name: name for name in chosen}
    for at, name in enumerate(chosen):
        for other in chosen[:at]:
            shared = set(texts[name]) & set(texts[other])
            if len(shared) > 0.05 * len(texts[name]):
                source = {one: source[other] if its == source[name] else its for one, its in source.items()}
    rows = [
        {"set": name, "source": source[name], "texts": len(texts[name]), "tokens_of_a_text": length[name]}
        for name in chosen
    ]
    pd.DataFrame(rows).to_csv(SETS, index=False, float_format="%.3g")


def chosen_sets() -> list[str]:
    return pd.read_csv(SETS)["set"].tolist()


def extract(folder: Path) -> None:
    """Write the activations that dictionaries are trained on."""
    for part, n in (("train", TRAIN), ("test", TEST)):
        sdl.extract(cached(MODEL), articles(part), at=[PLACE], out=folder / part, max_tokens=n, progress=False)


def texts(folder: Path) -> None:
    """Write the last tokens' activations of all texts where sae-probes looks for them."""
    from sae_probes.utils_data import read_numbered_dataset_df

    prompts = {name: read_numbered_dataset_df(name)["prompt"].tolist() for name in chosen_sets()}
    every = sorted({text for its in prompts.values() for text in its})
    values = dict(zip(every, last_tokens(every), strict=True))
    for name, its in prompts.items():
        path = folder / f"model_activations_{NAME}" / f"{name}_{HOOK}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.stack([values[text] for text in its]), path)


@torch.inference_mode()
def last_tokens(texts: list[str]) -> list[torch.Tensor]:
    """Return the residual stream after the layer at each text's last token. A BOS token comes first."""
    tokenizer = load_tokenizer(cached(MODEL))
    model = load_any(cached(MODEL), kind="AutoModel").bfloat16()
    model.layers = model.layers[:LAYER]
    model.norm = torch.nn.Identity()
    tokens = [[tokenizer.bos_token_id, *ids] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    values: list[Any] = [None] * len(texts)
    for batch in batches([len(ids) for ids in tokens]):
        width = max(len(tokens[at]) for at in batch)
        ids = torch.tensor([tokens[at] + [0] * (width - len(tokens[at])) for at in batch])
        out = model(ids, use_cache=False).last_hidden_state
        for row, at in enumerate(batch):
            values[at] = out[row, len(tokens[at]) - 1].float()
    return values


def batches(lengths: list[int]) -> Iterable[list[int]]:
    """Yield texts of similar lengths, whose padded tokens fit a batch."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[at] > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(at)
    yield batch


class Features:
    """What sae-probes takes for an SAE: an encoder."""

    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.encode = encode


def features_of(folder: Path, seed: int) -> dict[str, Callable[[], Features]]:
    """Return a function for each kind of features. Trained dictionaries come from `studies.rows_and_codes.real`."""
    train, test = (folder / part / f"{PLACE}.h5" for part in ("train", "test"))
    rows = Rows(train, test, SMOLLM2, seed, folder / "runs" / f"layer{LAYER}_seed{seed}")

    def trained(name: str) -> Features:
        return Features(rows.dictionary(name).encode)

    def omp() -> Features:
        return Features(sdl.search(rows.dictionary("TopK"), method="omp", k=L0, progress=False).encode)

    def null(name: str) -> Features:
        with ActivationStore(rows.train) as store:
            found = null_dictionaries(rows.dictionary("TopK").coder, store, L0, seed, False)
        return Features(sdl.Dictionary(found[name], {}).encode)

    return {
        "TopK": lambda: trained("TopK"),
        "BatchTopK": lambda: trained("BatchTopK"),
        "SAELens BatchTopK": lambda: trained("SAELens BatchTopK"),
        "TopK's rows, OMP": omp,
        "null: random samples": lambda: null("samples"),
        "null: random directions": lambda: null("directions"),
        "principal components": lambda: Features(components(rows.train)),
        "raw coordinates": lambda: Features(lambda x: x),
    }


def components(train: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    with ActivationStore(train) as store:
        x = torch.from_numpy(np.asarray(store.read("input", 0, 20_000), dtype=np.float32))
    mean = x.mean(0)
    _, _, directions = torch.linalg.svd(x - mean, full_matrices=False)
    return lambda activations: (activations - mean) @ directions.T


def score(folder: Path) -> None:
    for seed in SEEDS:
        for name, make in features_of(folder, seed).items():
            if (name, str(seed)) not in finished(RUNS, KEYS[:2]):
                made = make()
                add(RUNS, [row for one in chosen_sets() for row in probe(folder, name, made, one, seed)], KEYS)
                log.info("%s, seed %s", name, seed)
        if (FULL, str(seed)) not in finished(RUNS, KEYS[:2]):
            add(RUNS, [full_probe(folder, one, seed) for one in chosen_sets()], KEYS)
            log.info("%s, seed %s", FULL, seed)


def probe(folder: Path, name: str, made: Features, one: str, seed: int) -> list[dict[str, Any]]:
    """Call sae-probes' evaluation of one set, and read its results."""
    from sae_probes.run_sae_evals import run_sae_eval
    from sae_probes.utils_data import get_xy_traintest

    out = folder / "probes" / f"{name}, seed {seed}"
    split = SPLIT_SEED + seed
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run_sae_eval(
            made, one, HOOK, "l1", "normal", NAME, folder, device="cpu", ks=list(KS), results_path=out, seed=split
        )
    (path,) = out.rglob(f"{one}_{HOOK}_*.json")
    x = get_xy_traintest(100, one, HOOK, NAME, folder, seed=split)[0]
    with torch.no_grad():
        l0 = float((made.encode(x) != 0).sum(1).float().mean())
    return [row_of(name, seed, one, result["k"], l0, result) for result in json.loads(path.read_text())]


def full_probe(folder: Path, one: str, seed: int) -> dict[str, Any]:
    """Call sae-probes' baseline: a logistic regression on the raw activations, with an l2 penalty."""
    from sae_probes.run_baselines import run_baseline_dataset_layer

    out = folder / "probes" / f"{FULL}, seed {seed}"
    run_baseline_dataset_layer(HOOK, one, "logreg", NAME, folder, out, SPLIT_SEED + seed)
    (path,) = out.rglob(f"{one}_{HOOK}_*.json")
    return row_of(FULL, seed, one, "all", np.nan, json.loads(path.read_text())[0])


def row_of(name: str, seed: int, one: str, k: Any, l0: float, result: dict[str, Any]) -> dict[str, Any]:
    scores = {key: result[key] for key in ("test_auc", "test_acc", "val_auc")}
    return {"features": name, "seed": seed, "set": one, "k": k, "l0": l0, **scores}


def table(runs: pd.DataFrame, features: str, k: str) -> pd.DataFrame:
    """Return AUC, sets x seeds. The probes of all coordinates count for every k."""
    found = runs[(runs["features"] == features) & (runs["k"].astype(str) == ("all" if features == FULL else k))]
    return found.pivot(index="set", columns="seed", values="test_auc")


def interval(values: pd.DataFrame, source: pd.Series) -> tuple[float, float, float]:
    """Return a mean over sets and seeds, and its 95 % interval over sources and seeds, drawn with replacement."""
    groups = [values[source.loc[values.index] == one].to_numpy() for one in source.unique()]
    rng, seeds = np.random.default_rng(0), values.shape[1]
    means = []
    for _ in range(DRAWS):
        drawn = rng.integers(seeds, size=seeds)
        chosen = [groups[at] for at in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(chosen)[:, drawn].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.to_numpy().mean()), float(low), float(high)


def summary(runs: pd.DataFrame, source: pd.Series) -> pd.DataFrame:
    """Return the mean AUC of each kind of features and k, with its interval and the mean L0."""
    rows = []
    for (features, k), its in runs.astype({"k": str}).groupby(["features", "k"], sort=False):
        mean, low, high = interval(table(runs, str(features), str(k)), source)
        rows.append({"features": features, "k": k, "l0": its["l0"].mean(), "auc": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def summarise() -> None:
    """Write means and intervals of the kept runs."""
    runs, source = pd.read_csv(RUNS), pd.read_csv(SETS).set_index("set")["source"]
    summary(runs, source).to_csv(SUMMARY, index=False, float_format="%.4f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sets", "extract", "texts", "score", "summary"))
    parser.add_argument("folder", type=Path, nargs="?", help="folder for activations and dictionaries")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if arguments.what in ("sets", "summary"):
        {"sets": sets, "summary": summarise}[arguments.what]()
    else:
        {"extract": extract, "texts": texts, "score": score}[arguments.what](arguments.folder)


if __name__ == "__main__":
    main()
