"""Draw, of autoencoders with a loss near zero, the one that recovers fewest features (figure 4)."""

import argparse
import json
import logging
import sys

import torch

from sdlcore.data.reading import open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.zero_loss import Solution, least_recovering, solution
from sdlcore.model.saving import load_model
from sdlcore.study.products.figure4 import Learned, figure4, figure4_rows
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.markup import label_method
from sdlcore.study.report.bench_sentences import figure4_sentences
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", required=True, type=json.loads, help="JSON: seed, model, store, references of each run"
    )
    parser.add_argument("--names", nargs=2, required=True, metavar=("METHOD", "SOURCE"), help="what was trained")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    parser.add_argument("--summary", required=True, help="CSV file to write: one row a seed")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    torch.set_num_threads(1)
    solutions = [_judge(run) for run in arguments.runs]
    best = least_recovering(solutions)
    run = arguments.runs[best]
    model, W = load_model(run["model"]), load_references(run["references"]).W_p
    learned = Learned(model.W_enc.detach().numpy(), model.W_dec.detach().numpy())
    method, source = arguments.names
    title = f"{label_method(method)}, on {source}, seed {run['seed']}"
    figure = figure4(W, learned, solutions[best], title)
    save_figure(figure, arguments.png, arguments.pdf)
    rows = figure4_rows({run["seed"]: found for run, found in zip(arguments.runs, solutions, strict=True)}, run["seed"])
    write_csv(arguments.summary, rows)
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
    main()
