"""Draw a bench with n_p = 3: its features and samples (figure 8)."""

import argparse
import logging
import sys

from safetensors.numpy import load_file

from sdlcore.data.reading import open_checked
from sdlcore.study.products.figure8 import figure8
from sdlcore.study.products.figures import save_figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="activation store of the bench")
    parser.add_argument("--feature-matrix", required=True, help="safetensors file with W_p")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    matrices = load_file(arguments.feature_matrix)
    if "W_p" not in matrices:
        raise ValueError(f"{arguments.feature_matrix}: has no tensor W_p, expected one of shape 3 x n")
    with open_checked(arguments.store) as store:
        coefficients = store.features()
        if coefficients is None:
            raise ValueError(f"{arguments.store}: has no features, expected the store of a bench")
        figure = figure8(matrices["W_p"], store.read("input"), coefficients)
    save_figure(figure, arguments.png, arguments.pdf)
    logging.info("figure 8 of %d features", matrices["W_p"].shape[1])


if __name__ == "__main__":
    main()
