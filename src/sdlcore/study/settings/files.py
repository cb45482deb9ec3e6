"""Where the files of a study lie, relative to the working directory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sdlcore.pipeline import FASHION_MNIST, TRAINED_HERE
from sdlcore.study.settings.cells import Cell
from sdlcore.study.settings.study import Study

TRAINED = ("model.safetensors", "config.json", "history.csv")
"""Files in the folder of a run before its evaluation."""
METRICS = "metrics.json"


@dataclass(frozen=True)
class Files:
    """Paths of the files that the pipeline makes of a study."""

    study: Study
    divided_by: Mapping[str, str] = field(default_factory=dict)
    """Source -> the anchoring whose anchors divide the features of its runs without anchors, where there is one."""
    paper: str = "resources/paper"
    """Folder with the paper's own tables."""
    centred: Mapping[str, bool] = field(default_factory=dict)
    """Labelled source -> whether the means of its classes are centred, which runs beside a run may decide."""

    @property
    def results(self) -> str:
        """The folder of all results."""
        return f"results/{self.study.name}"

    def run(self, cell: Cell) -> str:
        """Return the folder of a run."""
        return f"{self.results}/runs/{cell.source}/{cell.method}/{cell.protocol}/{cell.anchoring}/seed{cell.seed}"

    def model(self, cell: Cell) -> str:
        """Return the model of a run."""
        return f"{self.run(cell)}/model.safetensors"

    def metrics(self, cell: Cell) -> str:
        """Return the metrics of a run."""
        return f"{self.run(cell)}/{METRICS}"

    def language(self, cell: Cell) -> str:
        """Return the losses of the language model with a run's dictionary in it."""
        return f"{self.run(cell)}/language.json"

    def history(self, cell: Cell) -> str:
        """Return the history of a run."""
        return f"{self.run(cell)}/history.csv"

    def all_of(self, cell: Cell) -> list[str]:
        """Return all that a run leaves, its metrics with it."""
        return [f"{self.run(cell)}/{name}" for name in (*TRAINED, METRICS)]

    def measured(self, cell: Cell) -> list[str]:
        """Return the metrics, the history and the settings of a run."""
        return [self.metrics(cell), self.history(cell), f"{self.run(cell)}/config.json"]

    def anchors(self, source: str, anchoring: str, seed: int) -> str:
        """Return the anchors of runs."""
        return f"{self.results}/anchors/{source}/{anchoring}/seed{seed}.safetensors"

    def judging_anchors(self, cell: Cell) -> str | None:
        """Return the anchors that say which features count as given away, None where nothing is judged by them.

        They are the run's own anchors, or the anchors of the runs that it is compared with.
        """
        anchoring = self.divided_by.get(cell.source) if cell.anchoring == "none" else cell.anchoring
        if anchoring is None or self.references(cell.source, cell.seed) is None:
            return None
        return self.anchors(cell.source, anchoring, cell.seed)

    def feature_matrix(self, bench: str, seed: int) -> str:
        """Return the true features of a bench."""
        return f"{self.results}/bench/{bench}/seed{seed}/feature_matrix.safetensors"

    def references(self, source: str, seed: int) -> str | None:
        """Return the directions that runs of a source are judged against, None where there are none."""
        if self.study.source(source).n_features is not None:
            return self.feature_matrix(source, seed)
        return f"{self.results}/references/{source}.safetensors" if self.study.source(source).is_labelled else None

    def store(self, source: str, seed: int, part: str) -> str:
        """Return a store, ``train`` or ``test``, drawn anew for each seed where features are known.

        If rows for training are streamed, the recipe of the rows replaces the store.
        """
        found = self.study.source(source)
        folder = f"{source}/seed{seed}" if found.n_features is not None else source
        ending = "json" if part == "train" and found.is_streamed else "h5"
        return f"{self.results}/activations/{folder}/{part}.{ending}"

    def text(self, source: str) -> str:
        """Return the file or folder of a language source's text, or its name at the hub."""
        return self.study.sources.language[source].text_in(self.study.cache)

    def images(self, source: str) -> tuple[str, str | None]:
        """Return the folders of a source's images, for training and for evaluation.

        The latter is None where some of the former are held out.
        """
        clip = self.study.sources.clip[source]
        prepared = self.prepared_images(source)
        return (clip.images, clip.test_images) if prepared is None else (f"{prepared}/train", f"{prepared}/test")

    def prepared_images(self, source: str) -> str | None:
        """Return the folder of images that the pipeline itself makes, None where the user's own are taken."""
        clip = self.study.sources.clip[source]
        if clip.images != FASHION_MNIST:
            return None
        train, test = clip.images_taken
        return f"{self.results}/images/fashion_mnist_{train}_{test}"

    def beside_images(self, source: str) -> list[str]:
        """Return the files of a source of images beside its stores, such as a CLIP that is trained on them."""
        left = [f"{self.results}/activations/{source}/skipped.csv"]
        if self.study.sources.clip[source].pretrained == TRAINED_HERE:
            left += [f"{self.results}/clip/{source}/{name}" for name in ("model.safetensors", METRICS)]
        return left

    def table(self, name: str, ending: str = "csv") -> str:
        """Return a file among the tables."""
        return f"{self.results}/tables/{name}.{ending}"

    def figure(self, name: str, ending: str = "png") -> str:
        """Return a file among the figures."""
        return f"{self.results}/figures/{name}.{ending}"

    def of_paper(self, name: str) -> str:
        """Return the paper's own numbers of a table."""
        return f"{self.paper}/{name}.csv"

    @property
    def claims(self) -> str:
        """The paper's claims in words, and how each is tested."""
        return f"{self.paper}/claims.yaml"

    @property
    def nearest_protocol(self) -> str:
        """What the protocol that our search found nearest to Table 1 gives, in the paper's format."""
        return self.of_paper("nearest_protocol")
