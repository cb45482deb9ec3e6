"""Are `suggest`, `judge` and `compare` right? Each case adds a row to a table in `resources/kept`.

    python -m studies.answers suggest lrb --seeds 200 --minutes 10     answers_suggest.csv
    python -m studies.answers trials clip                              answers_trials.csv: best trials
    python -m studies.answers peers                                    folders by other trainers (make peers)
    python -m studies.answers judge                                    answers_judge.csv
    python -m studies.answers compare --seeds 0 1 2                    answers_compare.csv

An interrupted command continues. Predictions and rules are in `answers_predictions.csv`. CLIP needs the activations of
`make run`; SmolLM2 is extracted by the first command that reads it.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from studies import KEPT
from studies.anchoring_effect.runs import made_with
from studies.rows_and_codes.real import LAYERS, MODEL, articles, cached
from studies.tables import add, finished

RESULTS = Path("results/answers")
CLIP = Path("results/quick/activations/fashion_clip")
STEPS = 2000
RAW = {"normalise": False, "bias": False}
"""Settings of the benches in config/studies/methods.yaml."""
PURSUIT = {"activation": "matching_pursuit", "tied": True, "decoder_norm": "unit", "initialisation": "tied"}


Cases = Iterator[tuple[tuple[str, ...], Callable[[], dict[str, Any]]]]
"""Each case: its keys in the table, and a function that measures the other columns."""


class Ground(NamedTuple):
    """Activations that `suggest` gets, and the best kept trial of 2,000 steps on them, by held-out FVU."""

    samples: Callable[[int], tuple[np.ndarray, np.ndarray]]
    """Training samples and held-out samples of a seed."""
    sizes: dict[str, Any]
    l0: int
    best: dict[str, Any]


def bench(name: str) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
        world = sdl.judged_bench(name, seed)
        return world.sample(), world.samples(10_000, "test").input

    return samples


def read(path: Path) -> np.ndarray:
    with ActivationStore(path) as store:
        return np.asarray(store.read("input"), np.float32)


def clip(_: int) -> tuple[np.ndarray, np.ndarray]:
    return read(CLIP / "train.h5"), read(CLIP / "test.h5")


def smollm2(_: int = 0, layer: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return 200,000 and 10,000 activations after a block of SmolLM2-135M, of different articles, in random order."""
    folder, place = RESULTS / "smollm2", f"resid_post.{layer - 1}"
    for part, tokens in (("train", 200_000), ("test", 10_000)):
        if not (folder / part).exists():
            at = [f"resid_post.{number - 1}" for number in LAYERS]
            sdl.extract(cached(MODEL), articles(part), at=at, out=folder / part, max_tokens=tokens)
    train = read(folder / f"train/{place}.h5")
    return train[np.random.default_rng(0).permutation(len(train))], read(folder / f"test/{place}.h5")


LANGUAGE = {"n_q": 2048, "batch_size": 512}
GROUNDS = {
    "lrb": Ground(bench("lrb"), {"n_q": 512, "batch_size": 512}, 16, PURSUIT | RAW | {"lr": 3e-2}),
    "synthsaebench": Ground(bench("synthsaebench"), {"n_q": 256, "batch_size": 1024}, 6, PURSUIT | RAW | {"lr": 1e-2}),
    "clip": Ground(clip, {"n_q": 512, "batch_size": 256}, 16, {}),
    "smollm2": Ground(smollm2, LANGUAGE, 32, PURSUIT | {"lr": 3e-3}),
    "smollm2_6": Ground(partial(smollm2, layer=6), LANGUAGE, 32, {}),
    "smollm2_24": Ground(partial(smollm2, layer=24), LANGUAGE, 32, {}),
}
"""The sizes, L0 and best trials of `methods_trials.csv`; if there is no best trial, it is in `answers_trials.csv`."""


def fitted(x: np.ndarray, seed: int, **settings: Any) -> sdl.Dictionary:
    return sdl.fit(x, seed=seed, steps=STEPS, progress=False, device="cpu", **settings)


def score(found: sdl.Dictionary, x: np.ndarray) -> dict[str, Any]:
    scores = sdl.evaluate(found, x=x, nulls=False)
    return {"fvu": scores["fvu"], "l0": scores["l0"]}


def regret(name: str, seed: int, minutes: float) -> dict[str, Any]:
    """Train the advised call, the best kept trial and TopK by defaults with a seed that pilots did not use."""
    ground = GROUNDS[name]
    train, test = ground.samples(seed)
    began, processor = time.monotonic(), time.process_time()
    advice = sdl.suggest(train, minutes, ground.l0, seed=seed, out=RESULTS / f"suggest_{name}_{seed}", **ground.sizes)
    row: dict[str, Any] = {"ground": name, "seed": seed, "minutes": minutes, "target_l0": ground.l0}
    row |= {"pilots": len(advice.pilots), "last_steps": advice.rows[0]["steps"], "sentence": advice.sentence}
    row |= {"suggest_seconds": time.monotonic() - began, "suggest_core_seconds": time.process_time() - processor}
    print(advice, flush=True)
    calls = {
        "advised": {key: value for key, value in advice.settings.items() if key not in ("steps", "batch_size", "n_q")},
        "kept": ground.best | {"k": ground.l0} if ground.best else best_trial(name),
        "default": {"activation": "topk", "k": ground.l0},
    }
    found: dict[str, dict[str, Any]] = {}  # calls may agree, and are then trained once
    for call, settings in calls.items():
        key = str(sorted(settings.items()))
        if key not in found:
            found[key] = score(fitted(train, seed + 50, **ground.sizes | settings), test)
        scores = found[key]
        row |= {f"{call}_method": settings["activation"], f"{call}_lr": settings.get("lr")}
        row |= {f"{call}_{key}": value for key, value in scores.items()}
    row["regret"] = row["advised_fvu"] / row["kept_fvu"] - 1
    return row | made_with()


METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk"},
    "batchtopk": {"activation": "batchtopk"},
    "jumprelu": {
        "activation": "jumprelu",
        "l0": 0.03,
        "bandwidth": 1.5,
        "l0_gain": 0.01,
        "init_l0": 16,
        "target_l0": 16,
    },
    "matching_pursuit": PURSUIT,
    "lista": {"activation": "lista", "ista_step": 0.3},
}
"""Methods of the trials on CLIP, as in config/studies/methods_long.yaml. Trials on layers of SmolLM2 train
matching pursuit only, the best method of all other trials."""


def trials(name: str) -> Cases:
    ground = GROUNDS[name]
    train, test = ground.samples(0)
    for method, lr in product(METHODS if name == "clip" else ["matching_pursuit"], (1e-3, 3e-3, 1e-2)):
        settings = METHODS[method] | ({} if method == "jumprelu" else {"k": ground.l0}) | ground.sizes | {"lr": lr}
        yield (name, method, str(lr)), partial(trial, train, test, settings)


def trial(train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    return score(fitted(train, 100, **settings), test)


def best_trial(name: str) -> dict[str, Any]:
    """Return the settings of the trial with the lowest error, of those with at most 1.1 times the requested L0."""
    import pandas as pd

    table, l0 = pd.read_csv(KEPT / "answers_trials.csv"), GROUNDS[name].l0
    best = table[(table["ground"] == name) & (table["l0"] <= 1.1 * l0)].sort_values("fvu").iloc[0]
    k = {} if best["method"] == "jumprelu" else {"k": l0}
    return METHODS[best["method"]] | k | {"lr": float(best["lr"])}


NESTED = {"prefixes": [8, 32, 128, 256], "prefix_detached": True, "reorder_every": 50, "lr": 3e-3}
JUDGED: dict[str, dict[str, dict[str, Any]]] = {
    "synthsaebench": {
        "topk": {"activation": "topk", "k": 6, "lr": 3e-3},
        "batchtopk": {"activation": "batchtopk", "k": 6, "lr": 1e-3},
        "nested_detached": {"activation": "batchtopk", "k": 6} | NESTED,
    },
    "lrb": {
        "topk": {"activation": "topk", "k": 16, "lr": 3e-2},
        "batchtopk": {"activation": "batchtopk", "k": 16, "lr": 3e-2},
    },
}
"""Kept methods that are trained anew, with the settings of the kept runs."""
SEED = 7
"""The world on which dictionaries are ranked; pairs of seeds use this and the four after it."""
PEERS = {"saelens_batchtopk": 1e-2, "dictionary_learning_batchtopk": 3e-2}
"""Kept methods of other libraries, with their learning rates."""


def peers() -> None:
    """Train BatchTopK by the trainers of SAELens and dictionary_learning, and save it as these libraries do."""
    import json

    from sae_lens import SAETrainer
    from sae_lens.config import SAETrainerConfig

    from peers.dictionary_learning import make_trainer
    from peers.saelens import make_sae

    x = torch.from_numpy(np.asarray(sdl.judged_bench("synthsaebench", SEED).sample(), np.float32))
    rng = np.random.default_rng(SEED)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(1 + STEPS * 1024 // len(x))])
    batches = [order[1024 * step : 1024 * (step + 1)] for step in range(STEPS)]
    torch.manual_seed(SEED)
    sae = make_sae("batchtopk", x.shape[1], 256, k=6, topk_threshold_lr=0.01)
    config = SAETrainerConfig(
        total_training_samples=STEPS * 1024, train_batch_size_samples=1024, lr_end=0.0, lr=PEERS["saelens_batchtopk"]
    )
    SAETrainer(config, sae, data_provider=(x[rows].clone() for rows in batches)).fit()
    sae.save_inference_model(RESULTS / "saelens_batchtopk")
    folder = RESULTS / "dictionary_learning_batchtopk"
    folder.mkdir(parents=True, exist_ok=True)
    options = {"steps": STEPS, "warmup_steps": 200, "k": 6, "threshold_start_step": 200, "threshold_beta": 0.995}
    lr = PEERS["dictionary_learning_batchtopk"]
    trainer = make_trainer("batchtopk", x.shape[1], 256, seed=SEED, lr=lr, **options)
    for step, rows in enumerate(batches):
        trainer.update(step, x[rows].clone())
    torch.save(trainer.ae.state_dict(), folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": trainer.config}))


def judged() -> Cases:
    """Yield the dictionaries of the ranking on one world, and two methods with five seeds on each bench."""
    null = {"activation": "topk", "k": 6, "frozen": "both", "initialisation": "samples", "steps": 1}
    kinds = {("synthsaebench", "random_samples", SEED): null}
    kinds |= {("synthsaebench", "nested_detached", SEED): JUDGED["synthsaebench"]["nested_detached"]}
    kinds |= {
        (bench, name, seed): JUDGED[bench][name]
        for seed, bench, name in product(range(SEED, SEED + 5), JUDGED, ("topk", "batchtopk"))
    }
    for (bench_name, name, seed), settings in kinds.items():
        yield (bench_name, name, str(seed)), partial(trained_and_judged, bench_name, name, seed, settings)
    for name in PEERS:
        yield ("synthsaebench", name, str(SEED)), partial(verdict, RESULTS / name, "synthsaebench", name, SEED)


def trained_and_judged(bench_name: str, name: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    settings = {"steps": STEPS} | GROUNDS[bench_name].sizes | RAW | settings
    found = sdl.fit(sdl.judged_bench(bench_name, seed).sample(), seed=seed, device="cpu", progress=False, **settings)
    return verdict(found, bench_name, name, seed)


def verdict(found: sdl.Dictionary | Path, bench_name: str, name: str, seed: int) -> dict[str, Any]:
    """Judge a dictionary, and return its score, and its verdicts beside its own method and all kept methods."""
    judgement = sdl.judge(found, bench_name, seed=seed)
    own = {row["method"]: row for row in judgement.rows}
    kept = {} if name not in own else {key: own[name][key] for key in ("mean", "low", "high", "verdict")}
    verdicts = {
        kind: [row["method"] for row in judgement.rows if row["verdict"] == kind] for kind in ("better", "worse")
    }
    key = "mip_decoder" if bench_name == "lrb" else "detection_f1"
    scores = {"score": judgement.scores[key], "l0": judgement.scores["l0"], "fvu": judgement.scores["fvu"]}
    return scores | kept | {kind: " ".join(names) for kind, names in verdicts.items()}


def compared(seed: int) -> Iterator[dict[str, Any]]:
    """Compare a TopK dictionary of SmolLM2, trained on half of the data, with other codes and other trainings."""
    train, test = smollm2()
    halves = np.array_split(train, 2)
    settings: dict[str, Any] = {"activation": "topk", "k": 32, "n_q": 2048, "steps": 800, "batch_size": 512, "lr": 3e-3}

    def trained(half: int, own_seed: int) -> sdl.Dictionary:
        out = RESULTS / f"topk_half{half}_seed{own_seed}"
        return sdl.fit(halves[half], seed=own_seed, out=out, progress=False, device="cpu", **settings)

    before, x = trained(0, seed), halves[0]
    others = {
        "another seed": trained(0, 10 + seed),
        "another half of the data": trained(1, seed),
        "OMP, threshold": sdl.search(before, x, "omp", l0=32, progress=False),
        "OMP, k": sdl.search(before, x, "omp", k=32, progress=False),
        "posterior": sdl.search(before, x, "posterior", progress=False),
        "reencode jumprelu": sdl.reencode(before, x, "jumprelu", 32, steps=400, device="cpu", progress=False),
        "reencode topk": sdl.reencode(before, x, "topk", 32, steps=400, device="cpu", progress=False),
        "refine": sdl.refine(before, x, rounds=6, n_samples=32_768, progress=False),
    }
    comparison = sdl.compare(before, before, test, beside=others)
    for name, found in {"after": before, **others}.items():
        called = "the encoder itself" if found is before else name
        yield {"codes": called, "seed": seed} | score(found, test) | comparison.summary(name)
        comparison.to_frame().loc[name].to_csv(RESULTS / f"latents_{called}_{seed}.csv", index=False)


def run(table: Path, keys: list[str], cases: Cases) -> None:
    """Add a row for each case that the table lacks."""
    done = finished(table, keys)
    for case, measure in cases:
        if case in done:
            continue
        began = time.process_time()
        row = dict(zip(keys, case, strict=True)) | measure()
        add(table, [row | {"core_seconds": round(time.process_time() - began, 1)} | made_with()], keys)
        print(*case, row, flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure suggest, judge and compare.")
    parser.add_argument("part", choices=("suggest", "trials", "peers", "judge", "compare"))
    parser.add_argument("grounds", nargs="*", choices=[*GROUNDS, []], help="grounds of suggest and trials")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.part == "suggest":
        table, keys = KEPT / "answers_suggest.csv", ["ground", "seed"]
        for ground, seed in product(options.grounds, options.seeds):
            if (ground, str(seed)) not in finished(table, keys):
                add(table, [regret(ground, seed, options.minutes)], keys)
    elif options.part == "trials":
        for ground in options.grounds:
            run(KEPT / "answers_trials.csv", ["ground", "method", "lr"], trials(ground))
    elif options.part == "peers":
        peers()
    elif options.part == "judge":
        run(KEPT / "answers_judge.csv", ["bench", "dictionary", "seed"], judged())
    else:
        table, keys = KEPT / "answers_compare.csv", ["codes", "seed"]
        for seed in options.seeds:
            if ("refine", str(seed)) not in finished(table, keys):
                for row in compared(seed):
                    add(table, [row | made_with()], keys)
                    print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
