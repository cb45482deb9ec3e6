"""Summarise and draw the tables of `benchmarks.encoder_law` and `benchmarks.directions`.

python -m benchmarks.encoder_law_picture docs/results/law
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.directions import OWN, REFERENCES
from sdlcore.pipeline import write_text
from sdlstudy.rendering.figures import GREY, PALETTE, save_png, style
from sdlstudy.rendering.labels import label_method

SHOWN = {"decoder": "decoder column", "readout": "read-out of the column", "shuffled": "read-out, shuffled latents"}
NAMES = {"smollm2": "SmolLM2", "fashion_clip": "CLIP", "topk_1600_steps": "TopK SAE, 1600 steps"}
RESAMPLES = 4000
MEASURES = ("auc", "words", "loss")


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


def figure(law: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Draw the cosines of encoder rows for each dictionary, and how well directions detect and steer."""
    pairs = zip(law["activations"], law["method"], strict=True)
    names = [f"{NAMES[where]}, {NAMES.get(method, label_method(method))}" for where, method in pairs]
    order = sorted(dict.fromkeys(names), key=lambda name: name.split(",")[0], reverse=True)
    with style():
        drawn = Figure(figsize=(10.4, 1.4 + 0.24 * max(len(order), 6)), layout="constrained")
        panels: Any = drawn.subplots(1, 3, width_ratios=(1.5, 1, 1))
        for number, (column, label) in enumerate(SHOWN.items()):
            colour = GREY if column == "shuffled" else PALETTE[number]
            at = [order.index(name) for name in names]
            panels[0].plot(law[column], at, "o", color=colour, markersize=4, label=label)
        panels[0].set_yticks(range(len(order)), order, fontsize=8)
        panels[0].invert_yaxis()
        panels[0].set_xlim(-0.05, 1)
        panels[0].set_xlabel("cosine with the encoder row")
        panels[0].legend(fontsize=7, loc="center", bbox_to_anchor=(0.36, 0.5))
        for axes, measure, label in (
            (panels[1], "auc", "detection: AUC of a topic"),
            (panels[2], "words", "steering: log probability of\nthe topic's words, nats"),
        ):
            its = found[(found["measure"] == measure) & (found["of"] == "value")].set_index("direction")
            shown = [name for name in (*OWN, "activation", *REFERENCES) if name in its.index]
            for place, name in enumerate(shown):
                colour = PALETTE[0] if name in OWN else GREY
                row = its.loc[name]
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
                axes.plot([row["mean"]], [place], "o", color=colour, markersize=5)
            axes.set_yticks(range(len(shown)), shown, fontsize=8)
            axes.invert_yaxis()
            axes.set_xlabel(label)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of real.csv and directions.csv")
    folder = parser.parse_args().folder
    law, directions = (pd.read_csv(folder / name) for name in ("real.csv", "directions.csv"))
    found = summary(directions)
    print(law.to_string(index=False), found.to_string(index=False), sep="\n\n")
    write_text(folder / "directions_summary.csv", found.to_csv(index=False, float_format="%.4g", lineterminator="\n"))
    save_png(figure(law, found), folder / "real.png")


if __name__ == "__main__":
    main()
