"""Captions of pictures in the report, and the numbers behind them in sentences."""

from typing import NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.top_samples import TOP_SAMPLES
from sdlstudy.products.bench_figure import BenchFigure
from sdlstudy.products.convergence import Convergence
from sdlstudy.products.features import Features
from sdlstudy.products.figure4 import Figure4
from sdlstudy.products.figure5 import Figure5
from sdlstudy.products.figure6 import Figure6
from sdlstudy.products.figure8 import Figure8
from sdlstudy.products.product import Product
from sdlstudy.products.run_table import RunTable
from sdlstudy.products.top_images import TopImages
from sdlstudy.rendering.convergence import convergence_sentence
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.rendering.sentences import figure6_sentences, top_images_sentence
from sdlstudy.settings.study import Study


class Caption(NamedTuple):
    """The texts of a picture."""

    alt: str
    """For readers who cannot see the picture."""
    text: str = ""
    """How to read the picture."""


def caption(product: Product, study: Study) -> Caption:
    """Return the caption of a product's picture, by default the product's title."""
    match product:
        case RunTable():
            return Caption(
                "Share of features that encoder and decoder recover over the swept parameter, a panel for each method, "
                "with and without anchors",
                f"The share of all features recovered by cosines above τ = {TAU:g}, by the encoder above and by the "
                "decoder below. Values are at equal distances; if the paper has another value, it is in brackets. "
                "Hollow markers are the paper’s numbers, by inner products. Anchored features count "
                "too: if the encoder’s curve with anchors equals their share of all features, it found no other.",
            )
        case Features():
            return Caption(
                "Best cosines of each true feature with encoder rows and with decoder columns, and their change by "
                "anchoring; a column of panels for each method",
                f"Feature by feature, for seed {product.seed} and protocol {product.protocol}. Above, without anchors: "
                "each dot is a true feature, with its best cosine with a column of the decoder (across) and with a row "
                f"of the encoder (upwards); the dotted lines are τ = {TAU:g}. Below: the change for "
                "features that are not anchors when other features are anchored; black is the median.",
            )
        case Figure4():
            return Caption(
                "Three panels of arrows on the unit sphere: ground-truth features, encoder rows, decoder columns",
                f"A {label_method(product.method)} (methods.{product.method}) on {product.source}, trained like every "
                "run: nothing is drawn by hand. Losses are on samples that training did not see. Rows and columns are "
                "drawn at unit length. A latent recovers a feature along or against its direction. Few dimensions make "
                "that likely: compare with as many random directions.",
            )
        case Figure5():
            return Caption(
                "Heat maps: cosines of latents' decoder columns with the directions of a parent and its children, and "
                "their mean responses",
                f"{'; '.join(map(label_method, product.methods))}, on {product.source}: the family of features that "
                "the first method absorbs most. Every feature has its own latent here, matched by decoder columns one "
                "to one. Outlined pairs are absorbed: on the right a parent’s latent that is silent or weak, on the "
                "left the child’s latent that writes the parent’s direction instead. A dictionary of the true features "
                "would have a bright first row on the right, and a diagonal on the left. The score is close to the "
                "measure of Chanin et al. 2024 (arXiv 2409.14507), with true directions instead of probes and pairs "
                "instead of tokens.",
            )
        case Figure6():
            return Caption(
                "Training loss, change of loss by resampling and fraction of dead latents over training steps, with "
                "and without resampling",
                f"{label_method(product.without)} without and with resampling, on {product.source}. Thin lines are "
                "seeds, thick lines their means. Numbers above the lowest panel count resampled latents (mean over "
                "seeds), at most one for each sample of a batch. Resampled latents start at badly reconstructed "
                "samples and with the norm of living latents, so the loss can jump before it falls. They count as "
                "alive until they have been silent for long enough again.",
            )
        case Figure8():
            bench = study.sources.bench[product.source]
            return Caption(
                "Left: ground-truth features as arrows on the unit sphere. Right: samples of the bench",
                f"Source {product.source}, seed {study.seeds[0]}: {bench.n} features in {bench.n_p} dimensions. Each "
                "sample is a sparse non-negative combination of features, so samples fill the cone between the "
                "features and are densest on them. Arrows on the right point along the features, lengthened. The one "
                "per cent of samples with the largest norms is outside the frame.",
            )
        case Convergence():
            seeds = ", ".join(map(str, product.seeds or study.seeds[:1]))
            return Caption(
                "Fraction of variance unexplained and shares of features that decoder and encoder recover over "
                "seconds, a row of panels for each protocol",
                f"On {product.source}, without anchors, a line for each run with seed {seeds}, at τ = {TAU:g}. Dashed "
                "lines are solvers, which work without gradients; their encoders are fitted at the end. Runs shared "
                "the machine’s cores, and solvers use several threads if dictionaries are large, so seconds compare "
                "runs of this machine only roughly.",
            )
        case TopImages():
            anchored = product.anchoring != "none"
            how = f"anchored to {label_anchoring(product.anchoring)}" if anchored else "not anchored"
            return Caption(
                "Rows of the images that activate a latent most, each with a histogram of their classes",
                f"{label_method(product.method)}, {how}. The latents shown have the decoder columns that match the "
                "first anchored classes best, one latent for each class, also for a run without anchors; no latent is "
                "picked by eye. “Tied” is the latent that is anchored to the class, “nearest” is another latent that "
                "matches it better. A row has fewer images if the latent fires on fewer. Training did "
                "not see these images. They are ordered by descending activation; the histogram counts the classes of "
                f"the {TOP_SAMPLES} that activate the latent most.",
            )
    return Caption(product.title)


def sentences(name: str, product: Product, rows: pd.DataFrame, study: Study) -> list[str]:
    """Return the results of a figure in sentences, from the rows of its table."""
    match product:
        case BenchFigure():
            return product.sentences(rows, study)
        case Figure6():
            return figure6_sentences(rows)
        case Convergence():
            return [convergence_sentence(rows)]
        case TopImages():
            return [top_images_sentence(name, product.method, product.anchoring, rows)]
    return []
