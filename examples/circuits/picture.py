"""Draw the graph that ``attribute.py`` wrote: layers upwards, tokens to the right.

python -m examples.circuits.picture docs/results/circuits docs/images/circuit.png
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

STYLES = {
    "feature": {"marker": "o", "color": "tab:blue", "s": 45},
    "error": {"marker": "D", "color": "tab:orange", "s": 28},
    "token": {"marker": "s", "color": "tab:gray", "s": 45},
    "logit": {"marker": "s", "color": "black", "s": 45},
}
EDGES = 50
"""The edges with the largest shares that are drawn, beside the largest of each node."""


def draw(folder: Path, path: Path) -> None:
    nodes = pd.read_csv(folder / "nodes.csv").set_index("node")
    edges = pd.read_csv(folder / "edges.csv")
    place = nodes["position"].astype(float)
    for _, group in nodes.groupby(["position", "layer"]):  # nodes at one place stand side by side
        place[group.index] += [(at - (len(group) - 1) / 2) * 0.2 for at in range(len(group))]
    # a target's edges are compared with each other, since features have other units than the logit
    edges["share"] = edges["weight"].abs() / edges.groupby("target")["weight"].transform(lambda its: its.abs().sum())
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    drawn = pd.concat([edges.nlargest(EDGES, "share"), edges.loc[edges.groupby("source")["share"].idxmax()]])
    for edge in drawn.drop_duplicates().itertuples():
        ends = [edge.source, edge.target]
        color = "tab:green" if edge.weight > 0 else "tab:red"
        axes.plot(place[ends], nodes.loc[ends, "layer"], color=color, lw=0.4 + 5 * edge.share, alpha=0.45, zorder=1)
    for kind, style in STYLES.items():
        its = nodes[nodes["kind"] == kind]
        axes.scatter(place[its.index], its["layer"], zorder=2, label=kind, **style)
    tokens = nodes[nodes["kind"] == "token"]
    axes.set_xticks(tokens["position"], [label.removeprefix("token ") for label in tokens["label"]])
    logit = nodes[nodes["kind"] == "logit"].iloc[0]
    axes.annotate(
        logit["label"], (logit["position"], logit["layer"]), xytext=(0, 8), textcoords="offset points", ha="center"
    )
    ablated = nodes[nodes["label"] == pd.read_csv(folder / "ablations.csv")["source"][0]].iloc[0]
    axes.annotate(
        ablated["label"].split(" of ")[0],
        (place[ablated.name], ablated["layer"]),
        xytext=(-170, -40),
        textcoords="offset points",
        arrowprops={"arrowstyle": "->"},
    )
    axes.set_ylabel("layer")
    axes.set_ylim(-1.5, nodes["layer"].max() + 3)
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(arguments.folder, arguments.picture)


if __name__ == "__main__":
    main()
