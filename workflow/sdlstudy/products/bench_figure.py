"""The base class of figures that load dictionaries trained on a bench and compute their numbers from them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sdlstudy.products.product import Picture
from sdlstudy.settings.cells import Cell, setting_of
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd


class BenchFigure(Picture):
    """A figure about autoencoders trained on a bench."""

    def asks(self) -> tuple[str, str, list[str], str]:
        """Return the figure's source, the name of its key with methods, these methods, and its protocol."""
        raise NotImplementedError

    def fitting(self, study: Study) -> tuple[list[str], str]:
        """Return the names of benches that the figure accepts, and the requirement in words, for errors."""
        raise NotImplementedError

    def sentences(self, rows: "pd.DataFrame", study: Study) -> list[str]:
        """Return the figure's results in sentences, from the rows of its table."""
        raise NotImplementedError

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        source, _, methods, protocol = self.asks()
        return [Cell(source, method, protocol, "none", seed) for method in methods for seed in study.seeds]

    def at_most(self, study: Study) -> int:
        return len(self.asks()[2]) * len(study.seeds)

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        source, key, methods, protocol = self.asks()
        benches, what = self.fitting(study)
        yield from unknown(f"{path}.source", [source], benches, f"a source under sources.bench {what}")
        yield from unknown(f"{path}.{key}", methods, study.methods, METHOD)
        yield from unknown(f"{path}.protocol", [protocol], study.protocols, PROTOCOL)
        if source not in benches or protocol not in study.protocols:
            return
        for method in (name for name in dict.fromkeys(methods) if name in study.methods):
            if study.methods[method].is_given:
                what = study.methods[method].origin
                yield f"{path}.{key}: {method} is {what}, expected a method that is trained by gradient descent"
                continue
            pair, n_q = (setting_of(study, source, method, protocol, name) for name in ("pair", "n_q"))
            n = study.sources.bench[source].n
            if pair != "sae":
                yield f"{path}.{key}: {method} is a {pair}, expected an autoencoder (pair: sae)"
            if n_q < n:
                few = f"{n_q} latents of {method} for {n} features"
                yield f"{path}.{key}: {few}, expected as many or more; raise n_q"

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for cell in self.cells_without_metrics(files.study):
            features = files.feature_matrix(cell.source, cell.seed)
            paths += [files.model(cell), files.store(cell.source, cell.seed, "test"), features]
        return list(dict.fromkeys(paths))


def read_bench(store: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the samples of a bench, N x n_p (float32), and their coefficients, a sparse N x n.

    Raises
    ------
    ValueError
        If the store does not come from a bench.
    """
    from sdlcore.data.reading import ActivationStore

    with ActivationStore(store) as opened:
        features = opened.features()
        if features is None:
            raise ValueError(f"{store}: has no features, expected the store of a bench")
        return opened.read("input").astype("float32"), features
