"""Test the guide to L0 on benches whose L0 is known: `python -m benchmarks.l0_guide`.

BatchTopK dictionaries are trained with several k. `sdl.l0_guide` should be least at the k that equals the mean number
of active features:

    python -m benchmarks.l0_guide --csv benchmarks/results/l0_guide.csv
"""

import argparse
import warnings
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import sdlcore as sdl
from sdlcore.evaluation.recovery import best_match, mip, normalise_rows
from sdlstudy.results.tables import write_csv


class Case(NamedTuple):
    """A bench with 128 features in 96 dimensions, and the k to train with."""

    sparsity: float
    ks: tuple[int, ...]
    more: dict[str, Any] = {}  # noqa: RUF012, a constant

    @property
    def l0(self) -> float:
        """The mean number of active features."""
        return 128 * (1 - self.sparsity)


FEW, MANY = (1, 2, 3, 4, 5, 6, 8, 12), (4, 8, 10, 12, 13, 14, 16, 20, 28)
CASES = {
    "plain": Case(0.97, FEW),
    "correlated": Case(0.97, FEW, {"correlation": 0.5}),
    "denser, correlated": Case(0.9, MANY, {"correlation": 0.3}),
}
WIDTHS = (128, 512)
SEEDS = (0, 1, 2)
NS = {"eighth": 1 / 8, "three_eighths": 3 / 8}
"""Names and shares of n_q of the n in the projection: the default of `sdl.l0_guide`, and about what its authors use."""
HOW: dict[str, Any] = {
    **{"activation": "batchtopk", "normalise": False, "decoder_norm": "unit", "initialisation": "tied"},
    **{"batch_size": 512, "lr": 3e-3, "resample_every": None, "progress": False},
}


def measure(name: str, width: int, seed: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for each k of a case: the guide, and how well the dictionary recovers the true features."""
    case = CASES[name]
    bench = sdl.Bench.draw(n=128, n_p=96, sparsity=case.sparsity, max_interference=0.2, seed=seed, **case.more)
    x, held_out = bench.sample(50_000), bench.sample(5000, "test")
    runs = {k: {"k": k} for k in case.ks}
    found = sdl.fit_many(x, runs, **HOW, n_q=width, seed=seed, steps=steps)
    guides = {at: sdl.l0_guide(found, held_out, n=round(share * width)) for at, share in NS.items()}
    rows = []
    for k, one in found.items():
        best = best_match(normalise_rows(one.W_dec.detach().numpy()), bench.W_p.T)
        rows.append(
            {
                **{"bench": name, "n_q": width, "seed": seed, "true_l0": round(case.l0, 2), "k": k},
                **{f"projection_{at}": guide.loc[k, "projection"] for at, guide in guides.items()},
                **{"cosine": guides["eighth"].loc[k, "cosine"], "fvu": one.history[-1]["fvu"]},
                "decoder_mip": mip(best),
            }
        )
    return rows


def minima(table: pd.DataFrame) -> pd.DataFrame:
    """Return the k at which each measure is best, beside the true L0, a row for each bench, width and seed."""
    rows = []
    for (bench, n_q, seed, true), part in table.groupby(["bench", "n_q", "seed", "true_l0"], sort=False):
        by_k = part.set_index("k")
        least = {name: by_k[name].idxmin() for name in map(str, by_k) if name.startswith(("projection", "cosine"))}
        best = by_k["decoder_mip"].idxmax()
        rows.append({"bench": bench, "n_q": n_q, "seed": seed, "true_l0": true, **least, "decoder_mip": best})
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--benches", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    arguments = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a k far below L0 leaves much unexplained
        for name, width, seed in product(arguments.benches, arguments.widths, arguments.seeds):
            rows += measure(name, width, seed, arguments.steps)
            write_csv(arguments.csv, pd.DataFrame(rows).round(4))
    print(minima(pd.DataFrame(rows)).to_string(index=False))


if __name__ == "__main__":
    main()
