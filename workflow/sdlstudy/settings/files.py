"""Paths of a study's files, relative to the working directory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from offline.settings import FASHION_MNIST, TRAINED_HERE
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.study import Study

TRAINED = ("model.safetensors", "config.json", "history.csv")
"""Files that training writes into the folder of a run."""
METRICS = "metrics.json"


@dataclass(frozen=True)
class Files:
    """Paths of the files that the pipeline writes for a study."""

    study: Study
    divided_by: Mapping[str, str] = field(default_factory=dict)
    """Source -> the anchoring whose anchors divide the features of its runs without anchors, if any."""
    paper: str = "resources/paper"
    """Folder with the tables of the paper."""
    centred: Mapping[str, bool] = field(default_factory=dict)
    """Labelled source -> whether its class means are centred. The runs on the source may decide this."""

    @property
    def results(self) -> str:
        """The folder of all results of the study."""
        return f"results/{self.study.name}"

    def run(self, cell: Cell) -> str:
        """Return the folder of a run."""
        return f"{self.results}/runs/{cell.source}/{cell.method}/{cell.protocol}/{cell.anchoring}/seed{cell.seed}"

    def model(self, cell: Cell) -> str:
        """Return the path of a run's model."""
        return f"{self.run(cell)}/model.safetensors"

    def metrics(self, cell: Cell) -> str:
        """Return the path of a run's metrics."""
        return f"{self.run(cell)}/{METRICS}"

    def language_losses(self, source: str) -> str:
        """Return the losses of a source's language model with each dictionary of the table of language scores."""
        return f"{self.results}/language_losses/{source}.json"

    def history(self, cell: Cell) -> str:
        """Return the path of a run's history."""
        return f"{self.run(cell)}/history.csv"

    def all_of(self, cell: Cell) -> list[str]:
        """Return the paths of all files of a run, including its metrics."""
        return [f"{self.run(cell)}/{name}" for name in (*TRAINED, METRICS)]

    def measured(self, cell: Cell) -> list[str]:
        """Return the paths of the metrics, the history and the settings of a run."""
        return [self.metrics(cell), self.history(cell), f"{self.run(cell)}/config.json"]

    def anchors(self, source: str, anchoring: str, seed: int) -> str:
        """Return the path of the anchors for one source, anchoring and seed."""
        return f"{self.results}/anchors/{source}/{anchoring}/seed{seed}.safetensors"

    def judging_anchors(self, cell: Cell) -> str | None:
        """Return the path of the anchors that decide which features count as given away.

        The file contains the run's own anchors or, for a run without anchors, the anchors of the runs that it is
        compared with. Return None if there are no anchors, or no reference directions.
        """
        anchoring = self.divided_by.get(cell.source) if cell.anchoring == "none" else cell.anchoring
        if anchoring is None or self.references(cell.source, cell.seed) is None:
            return None
        return self.anchors(cell.source, anchoring, cell.seed)

    def feature_matrix(self, bench: str, seed: int) -> str:
        """Return the path of a bench's true features."""
        return f"{self.results}/bench/{bench}/seed{seed}/feature_matrix.safetensors"

    def references(self, source: str, seed: int) -> str | None:
        """Return the path of the reference directions for runs on a source, or None if there are none."""
        if self.study.source(source).n_features is not None:
            return self.feature_matrix(source, seed)
        return f"{self.results}/references/{source}.safetensors" if self.study.source(source).is_labelled else None

    def store(self, source: str, seed: int, part: str) -> str:
        """Return the path of a store: ``part`` is ``train`` or ``test``.

        A source with known features has one store for each seed. For streamed training rows, the path leads to the
        recipe that makes the rows.
        """
        settings = self.study.source(source)
        folder = f"{source}/seed{seed}" if settings.n_features is not None else source
        ending = "json" if part == "train" and settings.is_streamed else "h5"
        return f"{self.results}/activations/{folder}/{part}.{ending}"

    def images(self, source: str) -> tuple[str, str | None]:
        """Return the folders of a source's training and evaluation images.

        The second is None if the evaluation images are held out from the first folder.
        """
        clip = self.study.sources.clip[source]
        prepared = self.prepared_images(source)
        return (clip.images, clip.test_images) if prepared is None else (f"{prepared}/train", f"{prepared}/test")

    def prepared_images(self, source: str) -> str | None:
        """Return the folder of images that the pipeline itself prepares, or None for the user's own images."""
        clip = self.study.sources.clip[source]
        if clip.images != FASHION_MNIST:
            return None
        train, test = clip.images_taken
        return f"{self.results}/images/fashion_mnist_{train}_{test}"

    def beside_images(self, source: str) -> list[str]:
        """Return the files of an image source beside its stores: skipped files, and a CLIP trained on the images."""
        clip = self.study.sources.clip[source]
        paths = [f"{self.results}/activations/{source}/skipped.csv"] if clip.shards == 1 else []
        if clip.pretrained == TRAINED_HERE:
            paths += [f"{self.results}/clip/{source}/{name}" for name in ("model.safetensors", METRICS)]
        return paths

    def table(self, name: str, ending: str = "csv") -> str:
        """Return the path of a file in the folder of tables."""
        return f"{self.results}/tables/{name}.{ending}"

    def figure(self, name: str, ending: str = "png") -> str:
        """Return the path of a file in the folder of figures."""
        return f"{self.results}/figures/{name}.{ending}"

    def of_paper(self, name: str) -> str:
        """Return the path of a file with the paper's own numbers, such as ``numbers``, the numbers of its tables."""
        return f"{self.paper}/{name}.csv"
