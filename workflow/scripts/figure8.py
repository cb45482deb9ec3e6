"""Draw a bench with n_p = 3: its features and samples (figure 8)."""

import logging
from pathlib import Path

from safetensors.numpy import load_file

from sdlcore.command_line import cli
from sdlcore.data.reading import open_checked
from sdlcore.study.products.figure8 import figure8
from sdlcore.study.products.figures import save_figure


def main(*, store: Path, feature_matrix: Path, png: Path, pdf: Path) -> None:
    """
    Args:
        store: activation store of the bench
        feature_matrix: safetensors file with W_p
    """
    matrices = load_file(feature_matrix)
    if "W_p" not in matrices:
        raise ValueError(f"{feature_matrix}: has no tensor W_p, expected one of shape 3 x n")
    with open_checked(store) as samples:
        coefficients = samples.features()
        if coefficients is None:
            raise ValueError(f"{store}: has no features, expected the store of a bench")
        figure = figure8(matrices["W_p"], samples.read("input"), coefficients)
    save_figure(figure, png, pdf)
    logging.info("figure 8 of %d features", matrices["W_p"].shape[1])


if __name__ == "__main__":
    cli(main)
