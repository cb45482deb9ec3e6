"""Draw, of autoencoders with a loss near zero, the one that recovers fewest features (figure 4)."""

import logging
from pathlib import Path
from typing import Any

import torch

from sdlcore.command_line import cli
from sdlcore.data.reading import open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.zero_loss import Solution, least_recovering, solution
from sdlcore.model.saving import load_model
from sdlcore.study.products.figure4 import Learned, figure4, figure4_rows
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.markup import label_method
from sdlcore.study.report.bench_sentences import figure4_sentences
from sdlcore.study.results.tables import write_csv


def main(*, runs: list[dict[str, Any]], names: tuple[str, str], png: Path, pdf: Path, summary: Path) -> None:
    """
    Args:
        runs: seed, model, store, references of each run
        names: method and source that were trained
        summary: CSV file to write: one row a seed
    """
    torch.set_num_threads(1)
    solutions = [_judge(run) for run in runs]
    best = least_recovering(solutions)
    run = runs[best]
    model, W = load_model(run["model"]), load_references(run["references"]).W_p
    learned = Learned(model.W_enc.detach().numpy(), model.W_dec.detach().numpy())
    method, source = names
    title = f"{label_method(method)}, on {source}, seed {run['seed']}"
    figure = figure4(W, learned, solutions[best], title)
    save_figure(figure, png, pdf)
    rows = figure4_rows({run["seed"]: found for run, found in zip(runs, solutions, strict=True)}, run["seed"])
    write_csv(summary, rows)
    for sentence in figure4_sentences(rows):
        logging.info("%s", sentence)


def _judge(run: dict[str, str]) -> Solution:
    W = load_references(run["references"]).W_p
    with open_checked(run["store"]) as store:
        x = store.features()
        if x is None:
            raise ValueError(f"{run['store']}: has no features, expected the store of a bench")
        return solution(load_model(run["model"]), W, x, store.read("input").astype("float32"))


if __name__ == "__main__":
    cli(main)
